"""
The worker's own threads that pay what no bell announced, or what a dead worker left.

They claim, pay and finish as the task does, so any number of workers may do it at once, and they need no broker.
"""

import logging
import random
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from celery import bootsteps
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from config import tracing
from config.celery import app
from payouts import tasks
from payouts.models import Payout

logger = logging.getLogger(__name__)

THREADS = 4


class Lane(threading.Thread):
    """
    Looks for due payouts of one kind and pays them on threads of its own.

    There is a lane for the NEW and one for the PROCESSING, so that payouts whose gateway hangs hold up only each other.
    """

    def __init__(self, name: str, claim: Callable[[], Payout | None], worker: str) -> None:
        super().__init__(name=f"recovery-{name}", daemon=True)
        self.claim = claim
        self.actor = f"recovery {worker}"
        self.stopping = threading.Event()
        self.in_hand: set[Future[None]] = set()

    def run(self) -> None:
        tracing.actor.set(self.actor)
        with ThreadPoolExecutor(THREADS) as executor:
            # Not all workers at the same moment.
            while not self.stopping.wait(settings.PAYOUT_RECOVERY_INTERVAL.total_seconds() * random.uniform(0.5, 1)):  # noqa: S311
                try:
                    self.sweep(executor)
                except (InterfaceError, OperationalError) as error:
                    logger.warning("recovery waits for the database: %s", error)
                except Exception:
                    logger.exception("recovery goes on after this")
                finally:
                    connection.close()

    def sweep(self, executor: ThreadPoolExecutor) -> None:
        """Pays until nothing is due, and has never more in hand than it has threads."""
        while not self.stopping.is_set():
            self.in_hand = {future for future in self.in_hand if not future.done()}
            if len(self.in_hand) == THREADS:
                wait(self.in_hand, timeout=1, return_when=FIRST_COMPLETED)
            elif payout := self.claim():
                self.in_hand.add(executor.submit(self.pay, payout))
            else:
                return

    def pay(self, payout: Payout) -> None:
        tracing.actor.set(self.actor)
        try:
            tasks.pay(payout)
        except Exception:
            logger.exception("payout %s: its outcome was not written, its lease will run out", payout.pk)
        finally:
            connection.close()


class Recovery(bootsteps.StartStopStep):
    # After the pool, hence stopped before it: on SIGTERM nothing new is taken, and what is in hand is waited for.
    requires = ("celery.worker.components:Pool",)
    lanes: tuple[Lane, ...] = ()

    def start(self, worker: Any) -> None:
        self.lanes = (
            Lane("new", lambda: Payout.objects.claim_new(settings.PAYOUT_RECOVERY_INTERVAL), worker.hostname),
            Lane("overdue", Payout.objects.claim_overdue, worker.hostname),
        )
        for lane in self.lanes:
            lane.start()

    def stop(self, worker: Any) -> None:
        for lane in self.lanes:
            lane.stopping.set()
        for lane in self.lanes:
            lane.join()


app.steps["worker"].add(Recovery)
