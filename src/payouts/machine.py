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
    """What one attempt to pay comes to."""

    PAID = "paid"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Answer:
    """What a gateway answered. All but the outcome are columns of the payout, under their names."""

    outcome: Outcome
    gateway_reference: str = ""
    failure_reason: str = ""
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
NOT_DUE = {"due_at": "NULL"}
FREE = {"taken_at": "NULL"}
TAKEN = {
    "attempt": "attempt + 1",
    "taken_at": NOW,
    "due_at": f"{NOW} + %(lease)s",
    # The note of a NEW one is a person's reason. That of a PROCESSING one says why its outcome is unknown.
    "note": "CASE status WHEN 'NEW' THEN '' ELSE note END",
}
ASK_LATER = FREE | {"due_at": f"{NOW} + %(again_in)s"}
FINISHED = FREE | NOT_DUE | {"processed_at": NOW}
# A worker that was frozen past its lease may still be asking. The new attempt number fences it off.
FINISHED_AND_FENCED = FINISHED | {"attempt": "attempt + 1"}
# A new submission is a new key for the gateway, which may replay its refusal of the old key for ever.
SUBMITTED_ANEW = {
    "submission": "submission + 1",
    "due_at": f"greatest({NOW}, pay_at)",
    "processed_at": "NULL",
    "failure_reason": "''",
    "gateway_reference": "''",
}

# name, from, to, who may, what it sets
TRANSITIONS = (
    Transition("claim", Status.NEW, Status.PROCESSING, Who.WORKER, TAKEN),
    Transition("claim", Status.PROCESSING, Status.PROCESSING, Who.WORKER, TAKEN),
    Transition(Outcome.PAID, Status.PROCESSING, Status.COMPLETED, Who.WORKER, FINISHED),
    Transition(Outcome.REFUSED, Status.PROCESSING, Status.FAILED, Who.WORKER, FINISHED),
    Transition(Outcome.UNKNOWN, Status.PROCESSING, Status.PROCESSING, Who.WORKER, ASK_LATER),
    Transition("cancel", Status.NEW, Status.CANCELLED, Who.PERSON, NOT_DUE),
    Transition("settle", Status.NEW, Status.COMPLETED, Who.SETTLER, FINISHED),
    Transition("settle", Status.NEW, Status.FAILED, Who.SETTLER, FINISHED),
    Transition("settle_doubt", Status.PROCESSING, Status.COMPLETED, Who.PROVIDERS_WORD, FINISHED_AND_FENCED),
    Transition("settle_doubt", Status.PROCESSING, Status.FAILED, Who.PROVIDERS_WORD, FINISHED_AND_FENCED),
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
    if target:
        allowed = {*sources(transitions(target=target, who=PEOPLE))}
    else:
        allowed = {status for status in Status if status != Status.PROCESSING}
    if fields.keys() & {*MONEY}:
        allowed &= {Status.FAILED if target == Status.NEW else Status.NEW}
    if ("failure_reason" in fields and target != Status.FAILED) or (
        "gateway_reference" in fields and target not in PAID_OR_REFUSED
    ):
        return set()
    return allowed


def diagram() -> str:
    """The table as Mermaid draws it. The README shows it, and a test compares the two."""
    moves = [
        f"{row.source} --> {row.target}: {row.name.replace('_', ' ')}"
        for row in TRANSITIONS
        if row.source != row.target
    ]
    return "\n    ".join(["stateDiagram-v2", f"[*] --> {Status.NEW}", *moves])
