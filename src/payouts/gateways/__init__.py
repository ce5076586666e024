"""The calls outside: who moves the money, what they may answer, and which of them is asked."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, Protocol
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

from payouts.machine import Answer, Outcome, Status
from payouts.models import FAILURE_CODE_MAX_LENGTH, REFERENCE_MAX_LENGTH, RETURNED_PREFIX, TEXT_MAX_LENGTH, Payout
from payouts.recipients import faults
from runtime.cards import mask_text
from runtime.clock import clock

# A route is called by its kind, by its kind and a name of its own ("http.north"), or by the dotted path of a class.
KINDS = {
    "http": "payouts.gateways.http.HTTPGateway",
    "paypal": "payouts.gateways.paypal.PayPalGateway",
    "sandbox": "payouts.gateways.sandbox.SandboxGateway",
    "yookassa": "payouts.gateways.yookassa.YooKassaGateway",
}
# What a kind can pay, where not everything: its currencies, and its types of recipients.
TAKES = {"paypal": (("USD", "EUR"), ("paypal",)), "yookassa": (("RUB",), ("card", "token", "sbp", "yoomoney"))}
PENDING_SCHEDULE = tuple(timedelta(seconds=seconds) for seconds in (5, 15, 60, 300, 900, 3600))
# After so many calls in a row without a word, a route is asked by one call at a time until it answers again.
SILENT_CALLS = 3
# So long a call waits for one of the route's calls to end. It keeps a thread, and saves two writes.
ROOM_SECONDS = 1


def paid(reference: str = "") -> Answer:
    return Answer(Outcome.PAID, gateway_reference=short(reference, REFERENCE_MAX_LENGTH))


def refused(reason: str, code: str = "", reference: str = "") -> Answer:
    return failed(Outcome.REFUSED, reason or "Refused.", code, reference)


def returned(reason: str, code: str = "", reference: str = "") -> Answer:
    return failed(Outcome.RETURNED, f"{RETURNED_PREFIX}{reason or 'no reason'}", code, reference)


def failed(outcome: Outcome, reason: str, code: str, reference: str) -> Answer:
    return Answer(
        outcome,
        gateway_reference=short(reference, REFERENCE_MAX_LENGTH),
        failure_reason=short(mask_text(reason), TEXT_MAX_LENGTH),
        failure_code=short(mask_text(code), FAILURE_CODE_MAX_LENGTH),
    )


def pending(reference: str = "") -> Answer:
    """The provider works on it. The outcome comes by a look-up or a notification."""
    return Answer(Outcome.PENDING, gateway_reference=short(reference, REFERENCE_MAX_LENGTH))


def unknown(doubt: str, reference: str = "") -> Answer:
    """It may have paid. The payout stays PROCESSING and is asked about again: FAILED could pay it twice."""
    return noted(Outcome.UNKNOWN, doubt, reference)


def absent(why: str) -> Answer:
    """Certainly nothing was executed, so it may be sent again, with the same key."""
    return noted(Outcome.ABSENT, why)


def no_reference(payout: Payout) -> Answer:
    """
    Nothing leads to it, as where nobody can look: while its key is remembered it may be sent again.

    For gateways that look by their own reference alone.
    """
    why = "only its reference, which nobody knows, leads to it"
    return unknown(why) if payout.status == Status.COMPLETED else absent(why)


def waits(why: str) -> Answer:
    """Only a person can go on."""
    return noted(Outcome.WAITS, why)


def noted(outcome: Outcome, note: str, reference: str = "") -> Answer:
    note = short(mask_text(note), TEXT_MAX_LENGTH) or "No reason."
    return Answer(outcome, gateway_reference=short(reference, REFERENCE_MAX_LENGTH), note=note)


def short(text: str, length: int) -> str:
    printable = text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
    return printable[:length]


BUSY = Answer(Outcome.BUSY, note="enough calls are asking this provider already")


class CallError(Exception):
    """A call ended without an answer of the provider, and this is what it means."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.note)
        self.answer = answer


class Gateway(Protocol):
    """What a class of one's own must be. `docs/gateways.md` has an example."""

    # How long a repeated key is certainly not a second payment.
    remembers: timedelta
    # Whether `look` can say anything. Without it a submission that was sent is sent again, with its key.
    can_look: bool
    # Whether "paid" is said again when asked: then it need not wait for the disk.
    repeats_paid: bool
    pending_schedule: Sequence[timedelta]

    def pay(self, payout: Payout) -> Answer:
        """Sends it under `payout.gateway_key`, unless `payout.deadline` or `payout.send_before` is over."""

    def look(self, payout: Payout) -> Answer:
        """Says what became of it, by reference or by key, before `payout.deadline`."""

    def named(self, request: HttpRequest) -> Iterable[UUID]:
        """The keys that a notification is about. Raises PermissionDenied for one that it cannot trust."""


class Route:
    """One account at one provider, for ever: how long it is waited for, and by how many calls at a time."""

    def __init__(self, name: str, gateway: Gateway) -> None:
        for attribute in ("remembers", "can_look", "repeats_paid", "pending_schedule", "pay", "look", "named"):
            if not hasattr(gateway, attribute):
                raise ImproperlyConfigured(f"The setting PAYOUT_ROUTES cannot be used: {name} has no {attribute}")
        self.name, self.gateway = name, gateway
        self.timeout: float = getattr(gateway, "timeout", settings.PAYOUT_GATEWAY_TIMEOUT)
        if settings.PAYOUT_LEASE.total_seconds() < 2 * self.timeout:
            raise ImproperlyConfigured(
                f"The setting PAYOUT_LEASE cannot be used: it is shorter than twice {name} takes"
            )
        if gateway.remembers <= settings.PAYOUT_LEASE:
            raise ImproperlyConfigured(
                f"The setting PAYOUT_LEASE cannot be used: {name} may forget a key before the lease is over"
            )
        self.lock = threading.Lock()
        self.call_ended = threading.Condition(self.lock)
        self.calls = self.silent_calls = 0
        self.answered_at = 0.0

    @property
    def is_away(self) -> bool:
        return self.silent_calls >= SILENT_CALLS

    @contextmanager
    def slot(self) -> Iterator[Answer | None]:
        """Room for one call, or the answer that there is none. A provider that is away is asked by one at a time."""
        with self.lock:
            self.call_ended.wait_for(lambda: self.is_away or self.calls < settings.PAYOUT_ROUTE_CALLS, ROOM_SECONDS)
            has_room = self.calls < (1 if self.is_away else settings.PAYOUT_ROUTE_CALLS)
            self.calls += has_room
            no_room = absent("the provider is away") if self.is_away else BUSY
        try:
            yield None if has_room else no_room
        finally:
            with self.lock:
                self.calls -= has_room
                self.call_ended.notify()

    def watch(self, answer: Answer, began: float) -> None:
        """Counts the calls in a row that reached nobody: nothing was sent, or nobody answered in time."""
        now = clock()
        # A time-out may come a little early, as it is counted in milliseconds.
        timed_out = answer.outcome == Outcome.UNKNOWN and now - began >= 0.9 * self.timeout
        with self.lock:
            if not timed_out and answer.outcome != Outcome.ABSENT:
                self.silent_calls, self.answered_at = 0, now
            elif self.answered_at < began:
                # Nobody else was answered meanwhile. Some calls may hang at a provider that is not away.
                self.silent_calls += 1


def unpayable(currency: str, recipient_details: Mapping[str, Any], name: str = "") -> dict[str, list[str]]:
    """Why the route of this name, or else that of this currency, cannot pay there: messages by field."""
    name = name or settings.PAYOUT_ROUTES.get(currency) or settings.PAYOUT_ROUTES.get("*", "")
    if (kind := name.partition(".")[0]) not in TAKES:
        return {}
    currencies, types = TAKES[kind]
    if currency not in currencies:
        return {"currency": [_("%(gateway)s pays only %(all)s.") % {"gateway": name, "all": ", ".join(currencies)}]}
    wrong = faults(recipient_details, types)
    return {"recipient_details": wrong} if wrong else {}


def refuse_unpayable(payout: Payout) -> Answer | None:
    """For one whose route was not known when it was accepted, or whose settings have changed since."""
    for field, messages in unpayable(payout.currency, payout.recipient_details, payout.gateway).items():
        why = f"{field}: {' '.join(map(str, messages))}"
        # What was sent before may have been paid, whatever we think of it now.
        return unknown(why) if payout.was_asked_before else refused(why, f"unpayable_{field}")
    return None


def route_names() -> set[str]:
    return {*settings.PAYOUT_ROUTES.values(), *settings.PAYOUT_RETIRED_ROUTES}


@cache
def routes() -> dict[str, Route]:
    """By name. Each is one object in a process."""
    if not settings.PAYOUT_ROUTES:
        raise ImproperlyConfigured(
            "The setting PAYOUT_GATEWAY cannot be used:"
            " a worker needs PAYOUT_GATEWAY_URL, or PAYOUT_GATEWAY=sandbox on purpose"
        )
    for currency, name in settings.PAYOUT_ROUTES.items():
        kind = name.partition(".")[0]
        if kind in TAKES and currency not in ("*", *TAKES[kind][0]):
            raise ImproperlyConfigured(f"The setting PAYOUT_ROUTES cannot be used: {name} does not pay {currency}")
    return {name: Route(name, gateway_of(name)) for name in route_names()}


def gateway_of(name: str) -> Gateway:
    path = KINDS.get(name.partition(".")[0], name)
    try:
        gateway: Gateway = import_string(path)(name)
    except (ImportError, LookupError, TypeError, ValueError) as error:
        raise ImproperlyConfigured(f"The setting PAYOUT_ROUTES cannot be used: {name}: {error}") from error
    return gateway
