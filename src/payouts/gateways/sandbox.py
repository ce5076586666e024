"""A gateway to try the service with. It pays nothing, and what it says follows from the number of the card."""

import random
import time
from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from payouts.gateways import paid, pending, refused, returned, unknown
from payouts.machine import Answer, Status
from payouts.models import Payout

REFUSED_NUMBER = "4000000000000002"
UNKNOWN_NUMBER = "4000000000000119"
PENDING_PAID_NUMBER = "4000000000000036"
PENDING_REFUSED_NUMBER = "4000000000000044"
RETURNED_NUMBER = "4000000000000069"
# Number -> what becomes of it. The document shows this table.
CARDS = {
    REFUSED_NUMBER: "is refused at once",
    UNKNOWN_NUMBER: "never gets an answer",
    PENDING_PAID_NUMBER: "is pending, then paid",
    PENDING_REFUSED_NUMBER: "is pending, then refused",
    RETURNED_NUMBER: "is paid, and the money comes back when somebody looks again",
}


class SandboxGateway:
    # It makes no payment, so no repetition makes a second one.
    remembers = timedelta(days=36_500)
    can_look = repeats_paid = True
    pending_schedule = (timedelta(seconds=2),)

    def __init__(self, name: str) -> None:
        self.name = name

    def pay(self, payout: Payout) -> Answer:
        if settings.SANDBOX_DELAY:
            time.sleep(settings.SANDBOX_DELAY)
        match number_of(payout):
            case n if n in (PENDING_PAID_NUMBER, PENDING_REFUSED_NUMBER):
                return pending(reference(payout))
            case n if n == UNKNOWN_NUMBER:
                return unknown("the sandbox does not say")
            case n if n == REFUSED_NUMBER:
                return refused("The sandbox refuses this card.", "card_refused")
        if random.random() < settings.SANDBOX_FAILURE_RATE:  # noqa: S311
            return refused("The sandbox refuses at random.", "at_random")
        return paid(reference(payout))

    def look(self, payout: Payout) -> Answer:
        number = number_of(payout)
        if number == UNKNOWN_NUMBER:
            return unknown("the sandbox does not say")
        if number in (REFUSED_NUMBER, PENDING_REFUSED_NUMBER):
            return refused("The sandbox refuses this card.", "card_refused")
        if number == RETURNED_NUMBER and payout.status == Status.COMPLETED:
            return returned("The sandbox returns this card's money.", "card_closed")
        return paid(reference(payout))

    def named(self, request: HttpRequest) -> Iterable[UUID]:
        raise PermissionDenied


def number_of(payout: Payout) -> str:
    return str(payout.recipient_details.get("number"))


def reference(payout: Payout) -> str:
    return f"sandbox-{payout.pk}"
