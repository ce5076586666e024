"""Processing: claim, pay, finish. The message is only a bell; what is to be paid is read from the row."""

import logging
import random
import threading
import time
from datetime import timedelta
from typing import Any

from celery import shared_task, signals
from django.conf import settings
from django.db import transaction
from prometheus_client import Counter

from config import telemetry, tracing
from config.celery import app
from config.health import require_database
from payouts import gateways
from payouts.models import Payout, Status

logger = logging.getLogger(__name__)

TASK = "payouts.process"
QUEUE = settings.CELERY_TASK_DEFAULT_QUEUE
SILENT_SECONDS = 5
ON_REDIS = app.conf.broker_url.startswith("redis")
TIMEOUTS = ("socket_timeout", "socket_connect_timeout") if ON_REDIS else ("read_timeout", "write_timeout")
PUBLISHING: Any = {"connect_timeout": 1, "transport_options": dict.fromkeys(TIMEOUTS, 1)}
RETRY_LONGEST = timedelta(minutes=10)
ATTEMPTS = Counter("payouts_attempts", "Attempts by outcome.", ["outcome"])
DROPPED = Counter("payouts_dropped_payments", "Payments that the gateway made for a worker that was overtaken.")
BELL_FAILURES = Counter("payouts_bell_failures", "Payouts that no message announced, because the broker was sick.")


@signals.worker_init.connect
def refuse_a_useless_start(**_kwargs: Any) -> None:
    require_database()
    gateways.configured()


def ring(payout: Payout) -> None:
    """Tells the workers of a NEW payout once it is committed."""
    transaction.on_commit(lambda: bell.ring(str(payout.pk)))


class Bell(threading.local):
    """
    Sends the message that a payout is NEW, on a connection for each thread. A sick broker holds up few
    callers, for a second each. A lost message costs time only, so none is confirmed: recovery finds the row.
    """

    producer: Any = None
    # Kept on the class, so for all threads: after a failure none of them sends anything before this time.
    silent_until = 0.0

    def ring(self, payout_id: str) -> None:
        now = time.monotonic()
        if now < Bell.silent_until:
            BELL_FAILURES.inc()
            return
        if Bell.silent_until:
            # The silence is over: this thread alone tries the broker, the others stay silent until it knows.
            Bell.silent_until = now + SILENT_SECONDS
        try:
            self._send(payout_id)
            Bell.silent_until = 0.0
        except Exception as error:  # noqa: BLE001
            Bell.silent_until = time.monotonic() + SILENT_SECONDS
            self._hang_up()
            BELL_FAILURES.inc()
            logger.warning("the broker takes no message, recovery will pay instead: %r", error)

    def _send(self, payout_id: str) -> None:
        if self.producer:
            try:
                self._publish(payout_id)
            except self.producer.connection.connection_errors:
                # Closed since the last message; py-amqp notices before it writes anything. The broker may be back.
                self._hang_up()
        if not self.producer:
            # No heartbeat: nobody would send it.
            self.producer = app.amqp.Producer(app.connection_for_write(heartbeat=0, **PUBLISHING))
            app.amqp.queues[QUEUE].bind(self.producer.channel).declare()
            self._publish(payout_id)

    def _publish(self, payout_id: str) -> None:
        """Sends what `process.delay(payout_id)` would, which takes six times as long to compose it."""
        headers = {"task": TASK, "id": payout_id}
        # OpenTelemetry listens, if it is on, and adds to the headers.
        signals.before_task_publish.send(TASK, headers=headers)
        try:
            self.producer.publish(((payout_id,), {}, {}), routing_key=QUEUE, headers=headers)
        finally:
            signals.after_task_publish.send(TASK, headers=headers)

    def _hang_up(self) -> None:
        if self.producer:
            self.producer.connection.collect()
        self.producer = None


bell = Bell()


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
    logger.info("claimed", extra=about(payout, was=payout.was, status=Status.PROCESSING))
    if time.time() > payout.ask_until:
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
