"""Where a process runs."""

import os
import random
import socket
from contextlib import suppress
from itertools import product

from config.settings import ONE_CORE


def stay_on_a_core(name: str = "payouts") -> None:
    """
    Python runs one thread of a process at a time. On several cores the next one has to be woken on another of them,
    some thirty times for each payout: a third of the CPU.
    """
    # A Mac has no such call, and a sandbox may forbid it.
    if not ONE_CORE or not hasattr(os, "sched_setaffinity"):
        return
    with suppress(OSError):
        cores = list(os.sched_getaffinity(0))
        random.shuffle(cores)
        seat = socket.socket(socket.AF_UNIX)
        # A name that one process has bound is taken until it ends, so each gets the core that fewest of them have. Pods
        # do not see each other's names, and rely on luck.
        for number, core in product(range(100), cores):
            with suppress(OSError):
                seat.bind(f"\0{name}-{core}-{number}")
                break
        seat.detach()
        os.sched_setaffinity(0, {core})
