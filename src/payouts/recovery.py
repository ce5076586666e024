"""What no bell announced, or a dead worker left: found in the table, and handed to the threads that bells use, too."""

import logging
import random
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from celery import bootsteps, signals
from django.conf import settings
from prometheus_client import Counter

from payouts import asking, tasks
from payouts.calls import Kind, calls
from payouts.machine import Answer, Outcome, Status
from payouts.models import Payout
from runtime.broker import app
from runtime.clock import clock
from runtime.context import request_id
from runtime.database import UNAVAILABLE, warn_once_a_minute
from runtime.worker import drop_waiting_tasks, stopping, submit

logger = logging.getLogger(__name__)

# Touched while there is room for calls, or PostgreSQL is away. If it is old, no call ends: the worker is wedged.
HEARTBEAT = Path(tempfile.gettempdir(), "heartbeat")
# However long the interval is, the heartbeat stays fresh.
LONGEST_PAUSE_SECONDS = 15
# A pass goes from the payout that is due for longest to the next. What was locked when it came by, it leaves out. So it
# ends after this time, and the next pass begins anew.
PASS_SECONDS = 60
# Meanwhile calls end, so that one statement takes a group of payouts.
GROUP_SECONDS = 0.01
# After SIGTERM the calls in hand end within a provider's time-out. So long their outcomes have to be written.
WRITE_SECONDS = 2
RECOVERED = Counter("payouts_recovered", "Claims without a message, by the status that they met.", ["was"])
# What each of the two threads looks for. COMPLETED ones are few: somebody has hinted that their money came back.
WATCHED = ((Status.NEW,), (Status.PROCESSING, Status.COMPLETED))
KINDS = {Status.NEW: Kind.RECOVERED, Status.PROCESSING: Kind.REPEATED, Status.COMPLETED: Kind.REPEATED}
ABANDONED = Counter("payouts_abandoned", "Claims of what another worker took, and of which it wrote nothing.")
for status in KINDS:
    # From the beginning, so that Prometheus sees it rise from zero.
    RECOVERED.labels(status)

# Has a thread pay a payout that was claimed, and remembers the status that it had.
type Hand = Callable[[Payout, Status], None]


def beat() -> None:
    with suppress(OSError):
        HEARTBEAT.touch()


def recover(statuses: Sequence[Status], by: str, hand_out: Hand) -> None:
    """Every now and then hands out all that is due."""
    pause = min(settings.PAYOUT_RECOVERY_INTERVAL.total_seconds(), LONGEST_PAUSE_SECONDS)
    # Not all workers at the same time.
    while not stopping.wait(pause * random.uniform(0.5, 1)):  # noqa: S311
        beat()
        try:
            # `sum`, and not `any`, which would look for the second only when there are no more of the first.
            while sum(hand_out_what_is_due(status, by, hand_out) for status in statuses):
                pass
        except UNAVAILABLE as error:
            warn_once_a_minute(error)
        except Exception:
            logger.exception("recovery goes on after this")


def hand_out_what_is_due(status: Status, by: str, hand_out: Hand) -> bool:
    """Makes one pass. Says whether there may be more."""
    until, since = time.monotonic() + PASS_SECONDS, None
    while not stopping.wait(GROUP_SECONDS) and time.monotonic() < until:
        if tasks.unwritten:
            # The worker is well, and waits for PostgreSQL. Nobody may restart it: it knows what was paid.
            beat()
            continue
        room = calls.room(KINDS[status])
        if room <= 0:
            continue
        beat()
        payouts = Payout.objects.claim_due(status, limit=room, by=by, since=since)
        for payout in payouts:
            hand_out(payout, status)
        if len(payouts) < room:
            return False
        # The claims have overwritten `due_at`. No payout is due before it is created, so this skips nothing due.
        since = max(payout.created_at for payout in payouts)
    return not stopping.is_set()


def hand_to(pool: Any) -> Hand:
    """The pool of threads that bells use, too."""

    def hand_out(payout: Payout, status: Status) -> None:
        calls.begin(KINDS[status])
        try:
            call = submit(pool, pay_recovered, payout, status)
        except RuntimeError:
            # The worker stops, and the pool takes nothing more.
            call = Future()
            call.cancel()
        call.add_done_callback(partial(end, payout, status))

    return hand_out


def end(payout: Payout, status: Status, call: Future[None]) -> None:
    calls.end(KINDS[status], seconds=clock() - payout.claimed_at)
    if call.cancelled():
        put_back(payout)


def put_back(payout: Payout) -> None:
    """It was claimed, and nobody will ask now. Another worker need not wait until its lease is over."""
    answer = Answer(Outcome.BUSY, note="the worker stopped before it asked")
    with suppress(*UNAVAILABLE):
        Payout.objects.finish(payout, answer, by=payout.changed_by, again_in=timedelta())


def pay_recovered(payout: Payout, was: Status) -> None:
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
    threads: Sequence[threading.Thread] = ()

    def start(self, worker: Any) -> None:
        beat()
        by, hand_out = f"recovery {worker.hostname}", hand_to(worker.pool)
        self.threads = [
            threading.Thread(target=recover, args=(statuses, by, hand_out), daemon=True) for statuses in WATCHED
        ]
        for thread in self.threads:
            thread.start()

    def stop(self, worker: Any) -> None:
        stopping.set()
        logger.info("stops")
        drop_waiting_tasks(worker.pool)
        for thread in self.threads:
            thread.join()


app.steps["worker"].add(Recovery)


@signals.worker_shutting_down.connect
def take_no_more(**_kwargs: Any) -> None:
    """At once: Celery takes its leave of the broker before it stops us."""
    stopping.begin(asking.longest_call() + WRITE_SECONDS)
