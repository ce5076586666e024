"""The one call outside: who moves the money, and what they may answer."""

from functools import cache
from typing import Protocol

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from payouts.machine import Answer, Outcome
from payouts.models import REFERENCE_MAX_LENGTH, TEXT_MAX_LENGTH, Payout
from runtime.cards import mask_text

CLASSES = {"http": "payouts.gateways.http.HTTPGateway", "sandbox": "payouts.gateways.sandbox.SandboxGateway"}


def paid(reference: str = "") -> Answer:
    return Answer(Outcome.PAID, gateway_reference=printable(reference)[:REFERENCE_MAX_LENGTH])


def refused(reason: str) -> Answer:
    return Answer(Outcome.REFUSED, failure_reason=mask_text(printable(reason))[:TEXT_MAX_LENGTH] or "Refused.")


def unknown(doubt: str) -> Answer:
    """It may have paid. The payout stays PROCESSING and is asked about again: FAILED could pay it twice."""
    return Answer(Outcome.UNKNOWN, note=mask_text(printable(doubt))[:TEXT_MAX_LENGTH] or "No reason.")


def printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


class Gateway(Protocol):
    def pay(self, payout: Payout) -> Answer:
        """Pays once, however often it is called with the same payout and submission."""


@cache
def configured() -> Gateway:
    name = settings.PAYOUT_GATEWAY
    if name not in CLASSES or (name == "http" and not settings.PAYOUT_GATEWAY_URL):
        raise ImproperlyConfigured(
            "The setting PAYOUT_GATEWAY cannot be used:"
            " a worker needs PAYOUT_GATEWAY_URL, or PAYOUT_GATEWAY=sandbox on purpose"
        )
    gateway: Gateway = import_string(CLASSES[name])()
    return gateway
