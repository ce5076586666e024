"""The rules of asking a provider: look before a repetition, send no key that may be forgotten, and one deadline."""

import logging
from datetime import timedelta

from django.conf import settings
from prometheus_client import Counter

from payouts import gateways
from payouts.gateways import CallError, absent, unknown, waits
from payouts.machine import Answer, Outcome, Status
from payouts.models import Payout
from runtime.clock import clock

logger = logging.getLogger(__name__)

# By what the settings do not name: a route that was removed, or a currency that has none.
UNROUTABLE = Counter("payouts_unroutable", "Attempts that no route led anywhere.", ["name"])
# What may be said of a COMPLETED payout. Anything else contradicts what was paid.
OF_COMPLETED = (Outcome.PAID, Outcome.RETURNED, Outcome.UNKNOWN)


def longest_wait(payout: Payout) -> float:
    """For how many seconds after its claim a worker may begin to ask: the rest of the lease is for the call."""
    route = gateways.routes().get(payout.gateway)
    timeout = route.timeout if route else 0
    return settings.PAYOUT_LEASE.total_seconds() - timeout


def longest_call() -> float:
    """After so many seconds each call has ended."""
    return max(route.timeout for route in gateways.routes().values())


def is_repeatable(payout: Payout) -> bool:
    route = gateways.routes().get(payout.gateway)
    return bool(route and route.gateway.repeats_paid)


def pending_wait(payout: Payout) -> timedelta:
    """The step of the schedule that its time of waiting has reached."""
    schedule = gateways.routes()[payout.gateway].gateway.pending_schedule
    reached = timedelta()
    for step in schedule:
        reached += step
        if payout.pending_for < reached:
            return step
    return schedule[-1]


def ask(payout: Payout) -> Answer:
    route = gateways.routes().get(payout.gateway)
    if route is None:
        return unroutable(payout)
    with route.slot() as no_room:
        if no_room:
            return no_room if no_room.outcome == Outcome.BUSY else nothing_sent(payout, no_room.note)
        began = clock()
        try:
            answer = ask_by_the_rules(payout, route)
        except CallError as error:
            answer = error.answer
        if payout.was_doubted and answer.outcome == Outcome.ABSENT:
            # Only the second request was certainly not executed.
            answer = unknown(answer.note)
        route.watch(answer, began)
    return of_completed(payout, answer) if payout.status == Status.COMPLETED else answer


def unroutable(payout: Payout) -> Answer:
    """The settings name no such route, or none for this currency."""
    name = payout.gateway or payout.currency
    UNROUTABLE.labels(name).inc()
    logger.error("no route leads to %s", name, extra={"fields": {"payout": payout.pk}})
    return nothing_sent(payout, f"PAYOUT_ROUTES has no {name}")


def nothing_sent(payout: Payout, why: str) -> Answer:
    """Not now. A COMPLETED one was paid, so it cannot be absent."""
    return unknown(why) if payout.status == Status.COMPLETED else absent(why)


def ask_by_the_rules(payout: Payout, route: gateways.Route) -> Answer:
    gateway = route.gateway
    # One deadline for the whole attempt: the look and the payment share it.
    payout.deadline = min(clock() + route.timeout, payout.claimed_at + settings.PAYOUT_LEASE.total_seconds())
    payout.send_before = last_send(payout, gateway.remembers)
    must_look = payout.status == Status.COMPLETED or payout.was_asked_before
    if must_look and gateway.can_look:
        answer = gateway.look(payout)
        if answer.outcome != Outcome.ABSENT or payout.status == Status.COMPLETED:
            return answer
    if payout.status == Status.COMPLETED:
        logger.error("a hint cannot be checked: this gateway cannot look", extra={"fields": {"payout": payout.pk}})
        return Answer(Outcome.PAID, note="A hint that the money came back cannot be checked: this gateway cannot look.")
    if payout.clock_was_set_back:
        why = "the database's clock was set back, so nothing is sent"
        return unknown(why) if payout.was_asked_before else absent(why)
    if clock() >= payout.send_before:
        if not payout.was_asked_before:
            return absent("the time to send it was over")
        return waits("its key may be forgotten: whoever sends it again may pay twice")
    return gateway.pay(payout)


def last_send(payout: Payout, remembers: timedelta) -> float:
    """By `clock`: until when this key may be sent. The database's clock says how old the key is."""
    rest = remembers - settings.PAYOUT_LEASE - payout.asked_ago
    return payout.claimed_at + rest.total_seconds()


def of_completed(payout: Payout, answer: Answer) -> Answer:
    """Only a plain word that the money came back changes what was paid."""
    if answer.outcome in OF_COMPLETED:
        return answer
    logger.error(
        "the provider says %s of a payout that is COMPLETED", answer.outcome, extra={"fields": {"payout": payout.pk}}
    )
    return Answer(Outcome.PAID, note=f"The provider says {answer.outcome}.")
