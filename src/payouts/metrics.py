"""What `/metrics` says of the table."""

from collections.abc import Iterator
from contextlib import suppress

from django.core.exceptions import ImproperlyConfigured
from django.db import Error
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from payouts.gateways import routes
from payouts.machine import Status
from payouts.models import Payout
from payouts.querysets import COUNT_LIMIT, STAGES
from runtime.database import one_question_at_a_time


class InFlight(Collector):
    def collect(self) -> Iterator[GaugeMetricFamily]:
        limit = f"counted to {COUNT_LIMIT:,}"
        number = GaugeMetricFamily("payouts_in_flight", f"Payouts, {limit}.", labels=["status"])
        oldest = GaugeMetricFamily("payouts_oldest_seconds", "How long the oldest payout is there.", labels=["status"])
        open_number = GaugeMetricFamily("payouts_open", f"PROCESSING ones, {limit}.", labels=["stage"])
        open_oldest = GaugeMetricFamily("payouts_open_seconds", "Since when the oldest is open.", labels=["stage"])
        key_age = GaugeMetricFamily("payouts_asked_seconds", "The age of the oldest open key.", labels=["gateway"])
        # Without a database the process still tells its own counts.
        with suppress(Error), one_question_at_a_time():
            payouts = Payout.objects
            add(number, oldest, Status.NEW, payouts.waiting().census("due_at"))
            add(number, oldest, Status.PROCESSING, payouts.processing().census("created_at"))
            add(number, oldest, Status.COMPLETED, payouts.hinted().census("due_at"))
            for stage, condition in STAGES.items():
                since = "created_at" if stage == "UNSENT" else "asked_at"
                add(open_number, open_oldest, stage, payouts.processing().filter(condition).census(since))
            for gateway, age in payouts.key_ages():
                key_age.add_metric([gateway], age.total_seconds())
        yield from (number, oldest, open_number, open_oldest, key_age, remembers())


def add(number: GaugeMetricFamily, oldest: GaugeMetricFamily, label: str, census: dict) -> None:
    number.add_metric([label], census["number"])
    oldest.add_metric([label], census["age"].total_seconds() if census["age"] else 0)


def remembers() -> GaugeMetricFamily:
    """Beyond this age a key is never sent again, so that an alert can say so before."""
    seconds = GaugeMetricFamily("payouts_gateway_remembers_seconds", "For how long.", labels=["gateway"])
    # An API may have no gateway, or lack the code of one: only its workers must be able to pay.
    with suppress(ImproperlyConfigured):
        for name, route in routes().items():
            seconds.add_metric([name], route.gateway.remembers.total_seconds())
    return seconds
