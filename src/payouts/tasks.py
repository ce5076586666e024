"""Processing: claim, pay, finish. The message is only a bell; what is to be paid is read from the row."""

import logging
import random
import time
from datetime import timedelta
from operator import gt
from typing import Any

from celery import shared_task, signals
from django.conf import settings
from prometheus_client import Counter

from config import telemetry, tracing
from config.health import require_database
from payouts import gateways
from payouts.bell import TASK
from payouts.models import Payout, Status, clocks

logger = logging.getLogger(__name__)

RETRY_LONGEST = timedelta(minutes=10)
ATTEMPTS = Counter("payouts_attempts", "Attempts by outcome.", ["outcome"])
DROPPED = Counter("payouts_dropped_payments", "Payments that the gateway made for a worker that was overtaken.")


@signals.worker_init.connect
def refuse_a_useless_start(**_kwargs: Any) -> None:
    require_database()
    gateways.configured()


@shared_task(bind=True, name=TASK)
def process(self: Any, payout_id: str) -> None:
    tracing.request_id.set("-")
    tracing.actor.set(f"worker {self.request.hostname}")
    if payout := Payout.objects.claim(payout_id):
        pay(payout)


@shared_task(bind=True, name="payouts.answer", ignore_result=False)
def answer(self: Any) -> str:
    """Tells `check_worker` who is there."""
    return str(self.request.hostname)


def about(payout: Payout, **more: Any) -> dict[str, Any]:
    """What a line of the log is about."""
    return {"fields": {"payout": payout.pk, "attempt": payout.attempt, **more}}


def pay(payout: Payout) -> None:
    """Pays a payout that was claimed, and writes what became of it."""
    # The id of the request that changed it last is in the row, so recovery knows it too.
    tracing.request_id.set(payout.changed_by.rpartition(" ")[2])
    if any(map(gt, clocks(), payout.ask_until)):
        # It was frozen, or its log was. Meanwhile another worker may have asked, and a person have acted on the answer.
        ATTEMPTS.labels("late").inc()
        logger.warning("woke too late to ask the gateway", extra=about(payout))
        return
    began = time.monotonic()
    said = ask(payout)
    duration = round(time.monotonic() - began, 6)
    again_in = backoff(payout.attempt) if said.status == Status.PROCESSING else None
    written = Payout.objects.finish(payout, again_in=again_in, **vars(said))
    ATTEMPTS.labels("overtaken" if not written else "unknown" if again_in else said.status).inc()
    more = {"was": Status.PROCESSING, "status": said.status, "duration": duration}
    if not written:
        dropped = about(payout, outcome=said.status, reference=said.reference, duration=duration)
        paid = said.status == Status.COMPLETED
        DROPPED.inc(paid)
        logger.log(logging.ERROR if paid else logging.WARNING, "was overtaken, its outcome is dropped", extra=dropped)
    elif again_in:
        more["again_in"] = round(again_in.total_seconds(), 3)
        logger.warning("outcome unknown: %s", said.note, extra=about(payout, **more))
    else:
        logger.info("settled", extra=about(payout, **more))


@telemetry.step("gateway")
def ask(payout: Payout) -> gateways.Answer:
    try:
        return gateways.configured().pay(payout)
    except Exception as error:
        # Whatever broke, it may have been after the money left.
        logger.exception("the gateway call broke", extra=about(payout))
        return gateways.Answer.unknown(type(error).__name__)


def backoff(attempt: int) -> timedelta:
    longest = min(settings.PAYOUT_RECOVERY_INTERVAL * 2 ** min(attempt - 1, 16), RETRY_LONGEST)
    return longest * random.uniform(0.5, 1)  # noqa: S311
