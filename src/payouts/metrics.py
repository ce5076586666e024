"""What `/metrics` says of the table."""

from contextlib import suppress

from django.db import Error
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from payouts.machine import Status
from payouts.models import Payout
from runtime.database import one_question_at_a_time


class InFlight(Collector):
    def collect(self) -> list[GaugeMetricFamily]:
        count = GaugeMetricFamily("payouts_in_flight", "Payouts, counted to 10,000.", labels=["status"])
        oldest = GaugeMetricFamily("payouts_oldest_seconds", "How long the oldest payout is there.", labels=["status"])
        # Without a database the process still tells its own counts.
        with suppress(Error), one_question_at_a_time():
            for status, payouts, since in (
                (Status.NEW, Payout.objects.waiting(), "due_at"),
                (Status.PROCESSING, Payout.objects.processing(), "created_at"),
            ):
                census = payouts.census(since)
                count.add_metric([status], census["number"])
                oldest.add_metric([status], census["age"].total_seconds() if census["age"] else 0)
        return [count, oldest]
