"""The message that announces a payout that is due to the workers. The API knows nothing else of them."""

import logging
import math
import threading
import time
from typing import Any

from celery import signals
from django.conf import settings
from django.db import transaction
from prometheus_client import Counter

from payouts.models import Payout
from runtime.broker import app

logger = logging.getLogger(__name__)

TASK = "payouts.process"
QUEUE = settings.CELERY_TASK_DEFAULT_QUEUE
SILENT_SECONDS = 5
# After so long a thread waits for one answer of the broker. A connection that is swallowed takes messages for ever.
CHECK_SECONDS = 10
ON_REDIS = app.conf.broker_url.startswith("redis")
TIMEOUTS = ("socket_timeout", "socket_connect_timeout") if ON_REDIS else ("read_timeout", "write_timeout")
PUBLISHING: Any = {"connect_timeout": 1, "transport_options": dict.fromkeys(TIMEOUTS, 1)}
BELL_FAILURES = Counter("payouts_bell_failures", "Payouts that no message announced, because the broker was sick.")


def announce(payout: Payout) -> None:
    """Rings for a payout that is due, once that is committed."""
    transaction.on_commit(lambda: bell.ring(str(payout.pk)))


class Bell(threading.local):
    """Rings on a connection of each thread's own. A lost message costs only time, so none is confirmed."""

    producer: Any = None
    check_at = 0.0
    # Kept on the class, so for all threads: after a failure none of them sends anything before this time.
    silent_until = 0.0

    def ring(self, payout_id: str) -> None:
        now = time.monotonic()
        if now < Bell.silent_until:
            BELL_FAILURES.inc()
            return
        if Bell.silent_until:
            # The silence is over: this thread alone tries the broker, the others stay silent until it knows.
            Bell.silent_until = math.inf
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
                if time.monotonic() > self.check_at:
                    self._check()
                self._publish(payout_id)
            except self.producer.connection.connection_errors:
                # Closed since the last message; py-amqp notices before it writes anything. The broker may be back.
                self._hang_up()
        if not self.producer:
            # No heartbeat: nobody would send it.
            self.producer = app.amqp.Producer(app.connection_for_write(heartbeat=0, **PUBLISHING))
            self._check()
            self._publish(payout_id)

    def _check(self) -> None:
        """Declares the queue, which somebody may have deleted. The broker answers that."""
        app.amqp.queues[QUEUE].bind(self.producer.channel).declare()
        self.check_at = time.monotonic() + CHECK_SECONDS

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
