"""The worker's own threads that pay, as the task does, what no bell announced or a dead worker left."""

import logging
import random
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from celery import bootsteps, signals
from django.conf import settings
from prometheus_client import Counter

from payouts import tasks
from payouts.machine import Status
from payouts.models import Payout
from runtime.broker import app
from runtime.context import request_id
from runtime.database import UNAVAILABLE
from runtime.worker import drop_waiting_tasks

logger = logging.getLogger(__name__)

# For NEW payouts, and as many for PROCESSING ones: those whose gateway hangs hold up only each other.
THREADS = 4
# Touched whenever a thread starts a pass or a payout. If it is old, none makes progress: the worker is wedged.
HEARTBEAT = Path(tempfile.gettempdir(), "heartbeat")
# However long the interval is, the heartbeat stays fresh.
LONGEST_PAUSE_SECONDS = 15
# A pass goes from the payout that is due for longest to the next. What was locked when it came by, it leaves out. So it
# ends after this time, and the next pass begins anew.
PASS_SECONDS = 60
RECOVERED = Counter("payouts_recovered", "Claims without a message, by the status that they met.", ["was"])
# What each thread looks for. COMPLETED ones are few: somebody has hinted that their money came back. A thread of their
# own would be one more connection to PostgreSQL for each worker.
WATCHED = ((Status.NEW,), (Status.PROCESSING, Status.COMPLETED)) * THREADS
ABANDONED = Counter("payouts_abandoned", "Claims of what another worker took, and of which it wrote nothing.")
for status in Status.NEW, Status.PROCESSING, Status.COMPLETED:
    # From the beginning, so that Prometheus sees it rise from zero.
    RECOVERED.labels(status)


def beat() -> None:
    with suppress(OSError):
        HEARTBEAT.touch()


@lru_cache
def warn_once_a_minute(reason: str, minute: float) -> None:
    """All threads meet the same error. The cache answers all calls of a minute but the first."""
    logger.warning("recovery waits for the database: %s", reason)


def recover(statuses: Sequence[Status], by: str, stopping: threading.Event) -> None:
    """Every now and then pays, one by one, all that is due."""
    pause = min(settings.PAYOUT_RECOVERY_INTERVAL.total_seconds(), LONGEST_PAUSE_SECONDS)
    # Not all threads at the same time.
    while not stopping.wait(pause * random.uniform(0.5, 1)):  # noqa: S311
        try:
            # `sum`, and not `any`, which would look for the second only when there are no more of the first.
            while sum(pay_what_is_due(status, by, stopping) for status in statuses):
                pass
        except UNAVAILABLE as error:
            warn_once_a_minute(str(error), time.monotonic() // 60)
        except Exception:
            logger.exception("recovery goes on after this")


def pay_what_is_due(status: Status, by: str, stopping: threading.Event) -> bool:
    """Makes one pass. Says whether there may be more."""
    beat()
    until, since = time.monotonic() + PASS_SECONDS, None
    while not stopping.is_set() and time.monotonic() < until:
        payout = Payout.objects.claim_due(status, by=by, since=since)
        if payout is None:
            return False
        # The claim has overwritten `due_at`. No payout is due before it is created, so this skips nothing that is due.
        since = payout.created_at
        pay_recovered(payout, status)
    return not stopping.is_set()


def pay_recovered(payout: Payout, was: Status) -> None:
    beat()
    RECOVERED.labels(was).inc()
    if was == Status.PROCESSING and not payout.note and payout.pending_since is None:
        # Each answer that leaves it PROCESSING would have left a note, or that it is pending.
        ABANDONED.inc()
    try:
        tasks.pay(payout)
    except Exception:
        logger.exception("its outcome was not written, its lease will run out", extra=tasks.log_fields(payout))
    request_id.set("-")


class Recovery(bootsteps.StartStopStep):
    # After the pool, hence stopped before it: on SIGTERM nothing new is taken, and what is in hand is waited for.
    requires = ("celery.worker.components:Pool",)
    stopping = threading.Event()
    threads: Sequence[threading.Thread] = ()

    def start(self, worker: Any) -> None:
        beat()
        self.threads = [
            threading.Thread(target=recover, args=(statuses, f"recovery {worker.hostname}", self.stopping), daemon=True)
            for statuses in WATCHED
        ]
        for thread in self.threads:
            thread.start()

    def stop(self, worker: Any) -> None:
        self.stopping.set()
        logger.info("stops")
        drop_waiting_tasks(worker)
        for thread in self.threads:
            thread.join()


app.steps["worker"].add(Recovery)


@signals.worker_shutting_down.connect
def take_no_more(**_kwargs: Any) -> None:
    """At once: Celery takes its leave of the broker before it stops us."""
    Recovery.stopping.set()
