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
from celery.apps import worker as celery_worker
from django.conf import settings
from prometheus_client import Counter, start_http_server

from config import tracing
from config.celery import app
from config.health import AWAY
from config.settings import refuse
from payouts import tasks
from payouts.models import Payout, Status

logger = logging.getLogger(__name__)

# For NEW payouts, and as many for PROCESSING ones, so that those whose gateway hangs hold up only each other.
THREADS = 4
# Touched whenever a thread starts a round or a payout. If it is old, none makes progress: the worker is wedged.
HEARTBEAT = Path(tempfile.gettempdir(), "heartbeat")
# However long the interval is, the heartbeat stays fresh.
LONGEST_REST = 15
# The share of claims that begin with the oldest again, to find those that were locked when passed over.
LOOK_BACK_SHARE = 0.01
RECOVERED = Counter("payouts_recovered", "Claims without a message, by what they found.", ["was"])
for found in (Status.NEW, Status.PROCESSING):
    # Told from the beginning, so that Prometheus sees it rise.
    RECOVERED.labels(found)


def beat() -> None:
    with suppress(OSError):
        HEARTBEAT.touch()


@lru_cache
def tell(why: str, minute: float) -> None:
    """Once a minute, although eight threads find it out again and again."""
    logger.warning("recovery waits for the database: %s", why)


def recover(status: Status, actor: str, stopping: threading.Event) -> None:
    """Every now and then pays, one by one, until nothing is due."""
    tracing.actor.set(actor)
    rest = min(settings.PAYOUT_RECOVERY_INTERVAL.total_seconds(), LONGEST_REST)
    # Not all at the same moment.
    while not stopping.wait(rest * random.uniform(0.5, 1)):  # noqa: S311
        try:
            beat()
            since = None
            while not stopping.is_set() and (payout := Payout.objects.claim_due(status, since)):
                # While anybody's transaction is open, the paid stay in the index: beginning anew would read past them.
                # A lease ends later than its payout was created, so that passes by none of the PROCESSING.
                since = None if random.random() < LOOK_BACK_SHARE else payout.created_at  # noqa: S311
                pay(payout, status)
        except AWAY as error:
            tell(str(error), time.monotonic() // 60)
        except Exception:
            logger.exception("recovery goes on after this")


def pay(payout: Payout, was: Status) -> None:
    beat()
    RECOVERED.labels(was).inc()
    try:
        tasks.pay(payout)
    except Exception:
        logger.exception("its outcome was not written, its lease will run out", extra=tasks.about(payout))
    tracing.request_id.set("-")


class Recovery(bootsteps.StartStopStep):
    # After the pool, hence stopped before it: on SIGTERM nothing new is taken, and what is in hand is waited for.
    requires = ("celery.worker.components:Pool",)
    stopping = threading.Event()
    threads: Sequence[threading.Thread] = ()

    def start(self, worker: Any) -> None:
        # Celery would write past the log when it is told to stop.
        celery_worker.safe_say = lambda *_args: None  # type: ignore[attr-defined]
        if settings.METRICS_PORT:
            try:
                start_http_server(settings.METRICS_PORT)
            except OSError as error:
                refuse("METRICS_PORT", error)
        beat()
        self.threads = [
            threading.Thread(target=recover, args=(status, f"recovery {worker.hostname}", self.stopping), daemon=True)
            for status in (Status.NEW, Status.PROCESSING) * THREADS
        ]
        for thread in self.threads:
            thread.start()

    def stop(self, worker: Any) -> None:
        self.stopping.set()
        logger.info("stops")
        # Tasks that wait in the pool would keep a terminated worker busy: unacknowledged, they go to another one.
        worker.pool.executor.shutdown(wait=False, cancel_futures=True)
        for thread in self.threads:
            thread.join()


app.steps["worker"].add(Recovery)


@signals.worker_shutting_down.connect
def take_no_more(**_kwargs: Any) -> None:
    """At once: Celery takes its leave of the broker before it stops us."""
    Recovery.stopping.set()
