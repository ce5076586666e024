"""Processing: claim, ask, finish. The message is only a bell; what is to be paid is read from the row."""

import logging
import random
import time
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from celery import shared_task
from celery.exceptions import Reject
from django.conf import settings
from prometheus_client import Counter

from payouts import asking
from payouts.bell import TASK
from payouts.calls import Kind, calls
from payouts.machine import Answer, Outcome, Status
from payouts.models import Payout
from runtime import telemetry
from runtime.clock import clock
from runtime.context import request_id
from runtime.database import UNAVAILABLE, Patience, is_held_up
from runtime.messages import drops, read_uuid
from runtime.worker import stopping

logger = logging.getLogger(__name__)

RETRY_LONGEST = timedelta(minutes=10)
# How long to wait before somebody looks again whether the money of a COMPLETED payout came back.
LOOK_INTERVAL = timedelta(hours=1)
ATTEMPTS = Counter("payouts_attempts", "Attempts by outcome and gateway.", ["outcome", "gateway"])
DROPPED = Counter("payouts_dropped_payments", "Payments that the gateway made for a worker that was overtaken.")
# The payouts whose outcome is known, and PostgreSQL has refused to take it.
unwritten: set[UUID] = set()
outcomes = Patience(may_try=lambda: True, gives_up=stopping.is_over)
# What was already paid is written before anything new is claimed.
claims = Patience(may_try=lambda: not unwritten, gives_up=stopping.is_set)


@shared_task(bind=True, name=TASK)
def process(self: Any, word: Any = None, *others: Any) -> None:
    request_id.set("-")
    payout_id = read_uuid(word)
    if others or not payout_id:
        drops.note("it names no payout")
        return
    with calls.one(Kind.BELL):
        try:
            payout = claims.run(partial(Payout.objects.claim, payout_id, by=f"worker {self.request.hostname}"))
        except UNAVAILABLE as error:
            if is_held_up(error):
                logger.warning("somebody has locked it, recovery will pay it", extra={"fields": {"payout": payout_id}})
                return
            # This worker stops. Another one is to hear this bell.
            raise Reject(requeue=True) from error
        if payout:
            pay(payout)


@shared_task(bind=True, name="payouts.report_name", ignore_result=False)
def report_name(self: Any, *_any: Any) -> str:
    """Answers `check_worker`."""
    return str(self.request.hostname)


def log_fields(payout: Payout, **others: Any) -> dict[str, Any]:
    fields = {"payout": payout.pk, "attempt": payout.attempt, "gateway": payout.gateway}
    return {"fields": {**fields, **others}}


def pay(payout: Payout) -> None:
    """Pays a payout that was claimed, and writes what became of it."""
    request_id.set(payout.last_request_id)
    if clock() > payout.claimed_at + asking.longest_wait(payout):
        # This worker was frozen, or blocked while it wrote its log. Meanwhile another one may have asked, and a person
        # have acted on the answer.
        ATTEMPTS.labels("late", payout.gateway).inc()
        logger.warning("woke too late to ask the gateway", extra=log_fields(payout))
        return
    began = time.monotonic()
    answer = ask(payout)
    duration = round(time.monotonic() - began, 6)
    again_in = next_look(payout, answer)
    try:
        is_written = outcomes.run(partial(write, payout, answer, again_in))
    except UNAVAILABLE:
        log_unwritten(payout, answer)
        return
    finally:
        unwritten.discard(payout.pk)
    if is_written:
        log_finished(payout, answer, duration, again_in)
    else:
        log_overtaken(payout, answer, duration)


def write(payout: Payout, answer: Answer, again_in: timedelta | None) -> bool:
    """Says whether the outcome is written. If it is not, somebody has overtaken this attempt."""
    repeatable = asking.is_repeatable(payout)
    while True:
        try:
            if Payout.objects.finish(payout, answer, by=payout.changed_by, again_in=again_in, is_repeatable=repeatable):
                return True
            # An earlier try may have written it without hearing so.
            return payout.pk in unwritten and Payout.objects.is_finished(payout)
        except UNAVAILABLE as error:
            # Held up, it has waited for seconds, and does so again. Meanwhile others are written and claimed.
            if stopping.is_over() or not is_held_up(error):
                unwritten.add(payout.pk)
                raise


@telemetry.step("gateway")
def ask(payout: Payout) -> Answer:
    try:
        return asking.ask(payout)
    except Exception as error:
        # Whatever broke, it may have been after the money left.
        logger.exception("the gateway call broke", extra=log_fields(payout))
        return Answer(Outcome.UNKNOWN, note=type(error).__name__)


def next_look(payout: Payout, answer: Answer) -> timedelta | None:
    """When to ask again. What the provider works on has a schedule of its own."""
    if answer.outcome == Outcome.PENDING:
        return asking.pending_wait(payout)
    if answer.outcome == Outcome.BUSY:
        return backoff(attempt=1)
    if answer.outcome in (Outcome.UNKNOWN, Outcome.ABSENT):
        # Money that came back does not go away again.
        return LOOK_INTERVAL if payout.status == Status.COMPLETED else backoff(payout.attempt)
    return None


def backoff(attempt: int) -> timedelta:
    longest = min(settings.PAYOUT_RECOVERY_INTERVAL * 2 ** min(attempt - 1, 16), RETRY_LONGEST)
    return longest * random.uniform(0.5, 1)  # noqa: S311


def log_finished(payout: Payout, answer: Answer, duration: float, again_in: timedelta | None) -> None:
    ATTEMPTS.labels(answer.outcome, payout.gateway).inc()
    fields = log_fields(payout, outcome=answer.outcome, duration=duration)
    if again_in is not None:
        fields["fields"]["again_in"] = round(again_in.total_seconds(), 3)
    if answer.outcome == Outcome.PENDING:
        logger.info("the provider works on it", extra=fields)
    elif answer.outcome == Outcome.BUSY:
        logger.info("waits for a call: %s", answer.note, extra=fields)
    elif answer.outcome == Outcome.WAITS:
        logger.error("waits for a person: %s", answer.note, extra=fields)
    elif answer.outcome in (Outcome.UNKNOWN, Outcome.ABSENT):
        logger.warning("outcome %s: %s", answer.outcome, answer.note, extra=fields)
    elif answer.outcome == Outcome.RETURNED:
        logger.warning("the money came back: %s", answer.failure_reason, extra=fields)
    else:
        logger.info("finished", extra=fields)


def log_unwritten(payout: Payout, answer: Answer) -> None:
    ATTEMPTS.labels("unwritten", payout.gateway).inc()
    logger.error(
        "stops before the database took its outcome: the provider is asked again when its lease is over",
        extra=log_fields(payout, outcome=answer.outcome, reference=answer.gateway_reference),
    )


def log_overtaken(payout: Payout, answer: Answer, duration: float) -> None:
    ATTEMPTS.labels("overtaken", payout.gateway).inc()
    is_paid = answer.outcome == Outcome.PAID and payout.status == Status.PROCESSING
    if is_paid:
        DROPPED.inc()
    logger.log(
        logging.ERROR if is_paid else logging.WARNING,
        "was overtaken, its outcome is dropped",
        extra=log_fields(payout, outcome=answer.outcome, reference=answer.gateway_reference, duration=duration),
    )
