"""A gateway to try the service with. It pays nothing and remembers nothing."""

import random
import time

from django.conf import settings

from payouts.gateways import paid, refused, unknown
from payouts.machine import Answer
from payouts.models import Payout

REFUSED_NUMBER = "4000000000000002"
UNKNOWN_NUMBER = "4000000000000119"


class SandboxGateway:
    def pay(self, payout: Payout) -> Answer:
        if settings.SANDBOX_DELAY:
            time.sleep(settings.SANDBOX_DELAY)
        number = payout.recipient_details.get("number")
        if number == REFUSED_NUMBER:
            return refused("The sandbox refuses this card.")
        if number == UNKNOWN_NUMBER:
            return unknown("the sandbox does not say")
        if random.random() < settings.SANDBOX_FAILURE_RATE:  # noqa: S311
            return refused("The sandbox refuses at random.")
        return paid(f"sandbox-{payout.pk}")
