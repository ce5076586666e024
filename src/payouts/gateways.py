"""The one outside call: who moves the money, and the three things that it may say."""

import json
import random
import ssl
import threading
import time
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import pycurl  # type: ignore[import-untyped]
from django.conf import settings

from config.health import speaks
from config.settings import refuse
from config.tracing import without_card_numbers
from payouts.models import REFERENCE_MAX_LENGTH, TEXT_MAX_LENGTH, Payout, Status

ANSWER_MAX_BYTES = 64 * 1024
# CURLOPT_QUICK_EXIT, for which pycurl has no name.
QUICK_EXIT = 322

REFUSED_NUMBER = "4000000000000002"
UNKNOWN_NUMBER = "4000000000000119"


@dataclass(frozen=True)
class Answer:
    status: Status
    reference: str = ""
    reason: str = ""
    note: str = ""

    @classmethod
    def paid(cls, reference: str = "") -> "Answer":
        return cls(Status.COMPLETED, reference=printable(reference)[:REFERENCE_MAX_LENGTH])

    @classmethod
    def refused(cls, reason: str) -> "Answer":
        return cls(Status.FAILED, reason=without_card_numbers(printable(reason))[:TEXT_MAX_LENGTH] or "Refused.")

    @classmethod
    def unknown(cls, doubt: str) -> "Answer":
        """It may have paid. The payout stays PROCESSING and is asked about again: FAILED could pay it twice."""
        return cls(Status.PROCESSING, note=without_card_numbers(printable(doubt))[:TEXT_MAX_LENGTH])


def printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


class Gateway(Protocol):
    def pay(self, payout: Payout) -> Answer:
        """Pays once however often it is called with the same payout and submission."""


class SandboxGateway:
    """Pays nothing and remembers nothing."""

    def pay(self, payout: Payout) -> Answer:
        if settings.SANDBOX_DELAY:
            time.sleep(settings.SANDBOX_DELAY)
        number = payout.recipient_details.get("number")
        if number == REFUSED_NUMBER:
            return Answer.refused("The sandbox refuses this card.")
        if number == UNKNOWN_NUMBER:
            return Answer.unknown("the sandbox does not say")
        if random.random() < settings.SANDBOX_FAILURE_RATE:  # noqa: S311
            return Answer.refused("The sandbox refuses at random.")
        return Answer.paid(f"sandbox-{payout.pk}")


class HTTPGateway(threading.local):
    """By libcurl, whose time-out is for the whole call: a gateway that drips its answer cannot outlive the lease."""

    PAID = (200, 201, 204)
    REFUSED = (400, 402, 422)
    curl: pycurl.Curl = None

    def pay(self, payout: Payout) -> Answer:
        fields = ("amount", "currency", "recipient_details", "comment")
        request = {"id": payout.pk, **{name: getattr(payout, name) for name in fields}}
        headers = ["Content-Type: application/json", f"Idempotency-Key: {payout.key}"]
        if settings.PAYOUT_GATEWAY_TOKEN:
            headers.append(f"Authorization: Bearer {settings.PAYOUT_GATEWAY_TOKEN}")
        curl = self._curl()
        curl.setopt(pycurl.HTTPHEADER, headers)
        curl.setopt(pycurl.POSTFIELDS, json.dumps(request, default=str))
        try:
            body = curl.perform_rb()
        except pycurl.error as error:
            return Answer.unknown(f"curl error {error.args[0]}: {error.args[1]}")
        return self.read(curl.getinfo(pycurl.RESPONSE_CODE), body)

    def read(self, code: int, body: bytes) -> Answer:
        if code not in (*self.PAID, *self.REFUSED):
            return Answer.unknown(f"HTTP {code}")
        try:
            said = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            said = None
        # A proxy in between can say 200 or 400 too, but not in JSON.
        if not isinstance(said, dict):
            return Answer.unknown(f"HTTP {code} with a broken answer")
        if code in self.REFUSED:
            reason = said.get("reason") or said.get("detail")
            return Answer.refused(reason if isinstance(reason, str) else f"HTTP {code}")
        reference = said.get("reference", "")
        return Answer.paid(str(reference) if isinstance(reference, str | int) else "")

    def _curl(self) -> pycurl.Curl:
        # What comes unasked, as an answer that is sent twice, would be taken for the next payout's.
        if self.curl is None or (socket := self.curl.getinfo(pycurl.ACTIVESOCKET)) == -1 or speaks(socket):
            self.curl = pycurl.Curl()
            self.curl.setopt(pycurl.URL, settings.PAYOUT_GATEWAY_URL)
            self.curl.setopt(pycurl.TIMEOUT_MS, int(settings.PAYOUT_GATEWAY_TIMEOUT * 1000))
            # Holds for an answer that does not state its length, too.
            self.curl.setopt(pycurl.MAXFILESIZE, ANSWER_MAX_BYTES)
            self.curl.setopt(pycurl.NOSIGNAL, 1)
            # A name that is still looked up after the time-out would hold up the next call, until its lease is over.
            self.curl.setopt(QUICK_EXIT, 1)
            # libcurl reads no SSL_CERT_FILE, and the wheel's looks only where Red Hat keeps its authorities.
            if certificates := ssl.get_default_verify_paths().cafile:
                self.curl.setopt(pycurl.CAINFO, certificates)
        return self.curl


@cache
def configured() -> Gateway:
    if settings.PAYOUT_GATEWAY == "sandbox":
        return SandboxGateway()
    if settings.PAYOUT_GATEWAY != "http" or not settings.PAYOUT_GATEWAY_URL:
        refuse("PAYOUT_GATEWAY", "a worker needs PAYOUT_GATEWAY_URL, or PAYOUT_GATEWAY=sandbox on purpose")
    return HTTPGateway()
