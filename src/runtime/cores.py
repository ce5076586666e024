"""On which core of the machine a process runs."""

import os
import random
import socket
from contextlib import suppress
from itertools import product

from django.conf import settings


def stay_on_a_core(name: str = "payouts") -> None:
    """
    Keeps all threads of this process on one core.

    Python runs one thread of a process at a time. With several cores it wakes the next thread on another core, some
    thirty times for each payout. That takes a third of the CPU.
    """
    # macOS has no such call, and a sandbox may forbid it.
    if not settings.ONE_CORE or not hasattr(os, "sched_setaffinity"):
        return
    with suppress(OSError):
        cores = list(os.sched_getaffinity(0))
        random.shuffle(cores)
        os.sched_setaffinity(0, {emptiest(cores, name)})


def emptiest(cores: list[int], name: str) -> int:
    """
    The core on which the fewest processes of this name stay.

    Each process keeps the name of a socket, made of its core and a number, until it ends. A taken name leads to the
    next core. Pods do not see each other's names, so between them chance decides.
    """
    seat = socket.socket(socket.AF_UNIX)
    for number, core in product(range(100), cores):
        with suppress(OSError):
            seat.bind(f"\0{name}-{core}-{number}")
            break
    # Detach it, so that nothing closes it: the system frees the name when the process ends.
    seat.detach()
    return core
