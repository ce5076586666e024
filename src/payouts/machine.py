"""What a payout may become, by whom and with what: one table. All else that speaks of statuses is derived from it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _


class Status(models.TextChoices):
    NEW = "NEW", _("New")
    PROCESSING = "PROCESSING", _("Processing")
    COMPLETED = "COMPLETED", _("Completed")
    FAILED = "FAILED", _("Failed")
    CANCELLED = "CANCELLED", _("Cancelled")


class Outcome(StrEnum):
    """What one attempt comes to."""

    PAID = "paid"
    REFUSED = "refused"
    # The provider works on it and will say later what became of it.
    PENDING = "pending"
    # It may have been paid. Nobody has said it plainly.
    UNKNOWN = "unknown"
    # The provider certainly never got it, or never executed it. It may be sent again, with the same key.
    ABSENT = "absent"
    # Nobody was asked: enough calls are asking this provider already.
    BUSY = "busy"
    # It was paid, and the money came back.
    RETURNED = "returned"
    # Nothing may be sent any more, and looking says nothing. Only a person can go on.
    WAITS = "waits"


@dataclass(frozen=True)
class Answer:
    """What a gateway answered. All but the outcome are columns of the payout, under their names."""

    outcome: Outcome
    gateway_reference: str = ""
    failure_reason: str = ""
    failure_code: str = ""
    note: str = ""


class Who(StrEnum):
    WORKER = "a worker"
    PERSON = "a person"
    SETTLER = "a person who may settle"
    PROVIDERS_WORD = "a person who may settle and has the provider's word"


@dataclass(frozen=True)
class Transition:
    name: str
    source: Status
    target: Status
    who: Who
    # Column -> SQL. Every statement that makes this transition sets these, and `status`.
    sets: Mapping[str, str] = field(repr=False)


NOW = "statement_timestamp()"
# Each write moves it on, even while the clock is set back: the history's trigger looks whether it has moved.
UPDATED = f"greatest({NOW}, updated_at + interval '1 microsecond')"
NOT_DUE = {"due_at": "NULL"}
FREE = {"taken_at": "NULL"}
TAKEN = {
    "attempt": "attempt + 1",
    "taken_at": NOW,
    "due_at": f"{NOW} + %(lease)s",
    # A route is chosen once for each submission.
    "gateway": "CASE gateway WHEN '' THEN coalesce(%(routes)s::jsonb ->> currency, %(routes)s::jsonb ->> '*', '')"
    " ELSE gateway END",
    # The first attempt sets both to the same time.
    "asked_at": f"coalesce(asked_at, {NOW})",
    # The note of a NEW one is a person's reason. That of a PROCESSING one says why its outcome is unknown.
    "note": "CASE status WHEN 'NEW' THEN '' ELSE note END",
}
ASK_LATER = FREE | {"due_at": f"{NOW} + %(again_in)s"}
PENDING = ASK_LATER | {"pending_since": f"coalesce(pending_since, {NOW})"}
# If this attempt was the first, the key has not been sent. So an outage of days strands nothing.
ABSENT = ASK_LATER | {"asked_at": "nullif(asked_at, taken_at)"}
LOOKED = FREE | NOT_DUE
FINISHED = LOOKED | {"processed_at": NOW}
# A worker that was frozen past its lease may still be asking. The new attempt number fences it off.
FINISHED_AND_FENCED = FINISHED | {"attempt": "attempt + 1"}
DUE_NOW = {"due_at": NOW}
# The provider's word is that nothing was booked under this key, so it may be sent again.
SENT_AGAIN = DUE_NOW | {"asked_at": "NULL", "pending_since": "NULL", "attempt": "attempt + 1"}
# A new submission is a new key for the gateway, which may replay its refusal of the old key for ever.
SUBMITTED_ANEW = {
    "submission": "submission + 1",
    "due_at": f"greatest({NOW}, pay_at)",
    "processed_at": "NULL",
    "asked_at": "NULL",
    "pending_since": "NULL",
    "gateway": "''",
    "gateway_reference": "''",
    "failure_reason": "''",
    "failure_code": "''",
}

# Name, from, to, who may, what it sets. What a worker finishes an attempt with is named by the outcome.
TRANSITIONS = (
    Transition("claim", Status.NEW, Status.PROCESSING, Who.WORKER, TAKEN),
    Transition("claim", Status.PROCESSING, Status.PROCESSING, Who.WORKER, TAKEN),
    Transition("claim", Status.COMPLETED, Status.COMPLETED, Who.WORKER, TAKEN),
    Transition(Outcome.PAID, Status.PROCESSING, Status.COMPLETED, Who.WORKER, FINISHED),
    Transition(Outcome.REFUSED, Status.PROCESSING, Status.FAILED, Who.WORKER, FINISHED),
    Transition(Outcome.PENDING, Status.PROCESSING, Status.PROCESSING, Who.WORKER, PENDING),
    Transition(Outcome.UNKNOWN, Status.PROCESSING, Status.PROCESSING, Who.WORKER, ASK_LATER),
    Transition(Outcome.ABSENT, Status.PROCESSING, Status.PROCESSING, Who.WORKER, ABSENT),
    Transition(Outcome.BUSY, Status.PROCESSING, Status.PROCESSING, Who.WORKER, ABSENT),
    Transition(Outcome.RETURNED, Status.PROCESSING, Status.FAILED, Who.WORKER, FINISHED),
    Transition(Outcome.WAITS, Status.PROCESSING, Status.PROCESSING, Who.WORKER, LOOKED),
    # Somebody has hinted that the money came back. A worker looks, and only looks.
    Transition(Outcome.RETURNED, Status.COMPLETED, Status.FAILED, Who.WORKER, LOOKED),
    Transition(Outcome.UNKNOWN, Status.COMPLETED, Status.COMPLETED, Who.WORKER, ASK_LATER),
    Transition(Outcome.BUSY, Status.COMPLETED, Status.COMPLETED, Who.WORKER, ASK_LATER),
    Transition(Outcome.PAID, Status.COMPLETED, Status.COMPLETED, Who.WORKER, LOOKED),
    Transition("cancel", Status.NEW, Status.CANCELLED, Who.PERSON, NOT_DUE),
    Transition("settle", Status.NEW, Status.COMPLETED, Who.SETTLER, FINISHED),
    Transition("settle", Status.NEW, Status.FAILED, Who.SETTLER, FINISHED),
    Transition("settle_doubt", Status.PROCESSING, Status.COMPLETED, Who.PROVIDERS_WORD, FINISHED_AND_FENCED),
    Transition("settle_doubt", Status.PROCESSING, Status.FAILED, Who.PROVIDERS_WORD, FINISHED_AND_FENCED),
    Transition("send_again", Status.PROCESSING, Status.PROCESSING, Who.PROVIDERS_WORD, SENT_AGAIN),
    Transition("look", Status.COMPLETED, Status.COMPLETED, Who.PROVIDERS_WORD, DUE_NOW),
    Transition("retry", Status.FAILED, Status.NEW, Who.PERSON, SUBMITTED_ANEW),
)

PAID_OR_REFUSED = (Status.COMPLETED, Status.FAILED)
# What people may do without the provider's word. It leads nowhere from PROCESSING, which belongs to the worker.
PEOPLE = (Who.PERSON, Who.SETTLER)
# What is to be paid: it can be changed only while the payout is NEW, or on its way back there.
MONEY = ("user_id", "amount", "currency", "recipient_details")


def transitions(
    name: str = "", source: str = "", target: str = "", who: Iterable[Who] = tuple(Who)
) -> tuple[Transition, ...]:
    """Those rows of the table that agree with all that is given."""
    wanted = {"name": name, "source": source, "target": target}
    return tuple(
        each
        for each in TRANSITIONS
        if each.who in who and all(getattr(each, column) == value for column, value in wanted.items() if value)
    )


def sources(rows: Iterable[Transition]) -> tuple[Status, ...]:
    return tuple(dict.fromkeys(row.source for row in rows))


def targets(rows: Iterable[Transition]) -> tuple[Status, ...]:
    return tuple(dict.fromkeys(row.target for row in rows))


def names(rows: Iterable[Transition]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(row.name for row in rows))


def statuses_for(fields: Mapping[str, Any]) -> set[Status]:
    """The statuses in which a person may make this change."""
    target = fields.get("status")
    of_target = sources(transitions(target=target, who=PEOPLE)) if target else ()
    statuses = {*of_target} if target else {*Status} - {Status.PROCESSING}
    if fields.keys() & {*MONEY}:
        # Money changes while it is NEW, or in the request that sends it back there.
        statuses &= {*sources(transitions("retry"))} if target == Status.NEW else {Status.NEW}
    if "failure_reason" in fields and target != Status.FAILED:
        return set()
    if "gateway_reference" in fields and target not in PAID_OR_REFUSED:
        return set()
    return statuses


def diagram() -> str:
    """The table as Mermaid draws it. The README shows it, and a test compares the two."""
    moves = [
        f"{row.source} --> {row.target}: {row.name.replace('_', ' ')}"
        for row in TRANSITIONS
        if row.source != row.target
    ]
    return "\n    ".join(["stateDiagram-v2", f"[*] --> {Status.NEW}", *moves])
