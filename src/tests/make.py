"""Payouts and requests for the tests."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from payouts import machine
from payouts.machine import Status
from payouts.models import Payout
from payouts.tasks import process

URL = "/api/v1/payouts/"
REQUEST = {"amount": "100.50", "currency": "RUB", "recipient_details": {"number": "4111111111111111"}}
# A worker has chosen its route, and has asked.
ASKED: dict[str, Any] = {"attempt": 1, "gateway": "sandbox", "asked_at": Now()}
FIELDS_OF_STATUS: dict[str, dict[str, Any]] = {
    Status.NEW: {"due_at": Now()},
    Status.PROCESSING: {**ASKED, "taken_at": Now(), "due_at": Now() + timedelta(minutes=1)},
    Status.COMPLETED: {**ASKED, "processed_at": Now()},
    Status.FAILED: {**ASKED, "processed_at": Now(), "failure_reason": "No such card."},
    Status.CANCELLED: {},
}
# Each way from one status to another, by anybody.
LEGAL_MOVES = {(row.source, row.target) for row in machine.TRANSITIONS if row.source != row.target}


def make_payout(status: str = Status.NEW, **fields: Any) -> Payout:
    values = {**REQUEST, "status": status, "gateway_key": uuid4(), **FIELDS_OF_STATUS[status], **fields}
    if "deleted_at" in fields:
        values["due_at"] = None
    elif status == Status.NEW and "created_at" in fields:
        # A NEW payout is due from its creation on.
        values["due_at"] = fields.get("due_at", fields["created_at"])
    payout = Payout.objects.create(**values)
    payout.refresh_from_db()
    return payout


def multiply(payout: Payout, times: int) -> None:
    """Adds this many copies, by one statement and without a history. The ORM would take too long."""
    columns = ", ".join(str(field.column) for field in Payout._meta.concrete_fields if not field.primary_key)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE payouts_payout DISABLE TRIGGER payouts_record")
        cursor.execute(
            f"INSERT INTO payouts_payout (id, {columns}) SELECT gen_random_uuid(), {columns}"  # noqa: S608
            " FROM payouts_payout, generate_series(1, %s) WHERE id = %s",
            [times, payout.pk],
        )
        cursor.execute("ALTER TABLE payouts_payout ENABLE TRIGGER payouts_record")


def make_processing(*, lease_is_over: bool) -> Payout:
    """A payout that a worker has taken."""
    sign = -1 if lease_is_over else 1
    return make_payout(Status.PROCESSING, due_at=timezone.now() + sign * timedelta(minutes=5))


def url_of(payout: Payout) -> str:
    return f"{URL}{payout.pk}/"


def row(payout: Payout) -> dict[str, Any]:
    """What the database has of it now."""
    return dict(Payout.objects.values().get(pk=payout.pk))


def nest(levels: int) -> dict[str, Any]:
    """Details of this many levels."""
    details: dict[str, Any] = {"end": 1}
    for _ in range(levels - 1):
        details = {"in": details}
    return details


def short_id(value: Any) -> str:
    """The id of a parameter: the same in every process, however long or odd the value is."""
    return ascii(sorted(value) if isinstance(value, set) else value)[:30]


def reload(payout: Payout) -> Payout:
    return Payout.objects.get(pk=payout.pk)


def process_payout(**fields: Any) -> Payout:
    """A payout after one delivery of its message."""
    payout = make_payout(**fields)
    process(str(payout.pk))
    return reload(payout)
