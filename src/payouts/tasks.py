"""Processing: claim, pay, finish. The message is only a bell; what is to be paid is read from the row."""

import logging
import random
import time
from datetime import timedelta
from typing import Any

from celery import shared_task
from django.conf import settings
from prometheus_client import Counter

from payouts import gateways
from payouts.bell import TASK
from payouts.machine import Answer, Outcome
from payouts.models import Payout
from runtime import telemetry
from runtime.clock import clock
from runtime.context import request_id

logger = logging.getLogger(__name__)

RETRY_LONGEST = timedelta(minutes=10)
ATTEMPTS = Counter("payouts_attempts", "Attempts by outcome.", ["outcome"])
DROPPED = Counter("payouts_dropped_payments", "Payments that the gateway made for a worker that was overtaken.")


@shared_task(bind=True, name=TASK)
def process(self: Any, payout_id: str) -> None:
    request_id.set("-")
    if payout := Payout.objects.claim(payout_id, by=f"worker {self.request.hostname}"):
        pay(payout)


@shared_task(bind=True, name="payouts.answer", ignore_result=False)
def report_name(self: Any) -> str:
    """Answers `check_worker`."""
    return str(self.request.hostname)


def log_fields(payout: Payout, **others: Any) -> dict[str, Any]:
    return {"fields": {"payout": payout.pk, "attempt": payout.attempt, **others}}


def pay(payout: Payout) -> None:
    """Pays a payout that was claimed, and writes what became of it."""
    # The id of the request that changed it last is in the row, so recovery knows it too.
    request_id.set(payout.changed_by.rpartition(" ")[2])
    if clock() > payout.ask_before:
        # This worker was frozen, or its log was. Meanwhile another one may have asked, and a person have acted on the
        # answer.
        ATTEMPTS.labels("late").inc()
        logger.warning("woke too late to ask the gateway", extra=log_fields(payout))
        return
    began = time.monotonic()
    answer = ask(payout)
    duration = round(time.monotonic() - began, 6)
    again_in = backoff(payout.attempt) if answer.outcome == Outcome.UNKNOWN else None
    if Payout.objects.finish(payout, answer, by=payout.changed_by, again_in=again_in):
        log_finished(payout, answer, duration, again_in)
    else:
        log_overtaken(payout, answer, duration)


@telemetry.step("gateway")
def ask(payout: Payout) -> Answer:
    try:
        return gateways.configured().pay(payout)
    except Exception as error:
        # Whatever broke, it may have been after the money left.
        logger.exception("the gateway call broke", extra=log_fields(payout))
        return gateways.unknown(type(error).__name__)


def backoff(attempt: int) -> timedelta:
    longest = min(settings.PAYOUT_RECOVERY_INTERVAL * 2 ** min(attempt - 1, 16), RETRY_LONGEST)
    return longest * random.uniform(0.5, 1)  # noqa: S311


def log_finished(payout: Payout, answer: Answer, duration: float, again_in: timedelta | None) -> None:
    ATTEMPTS.labels(answer.outcome).inc()
    fields = log_fields(payout, outcome=answer.outcome, duration=duration)
    if again_in is None:
        logger.info("finished", extra=fields)
        return
    fields["fields"]["again_in"] = round(again_in.total_seconds(), 3)
    logger.warning("outcome unknown: %s", answer.note, extra=fields)


def log_overtaken(payout: Payout, answer: Answer, duration: float) -> None:
    ATTEMPTS.labels("overtaken").inc()
    is_paid = answer.outcome == Outcome.PAID
    if is_paid:
        DROPPED.inc()
    logger.log(
        logging.ERROR if is_paid else logging.WARNING,
        "was overtaken, its outcome is dropped",
        extra=log_fields(payout, outcome=answer.outcome, reference=answer.gateway_reference, duration=duration),
    )
