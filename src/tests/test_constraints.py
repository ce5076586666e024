"""What the API refuses, PostgreSQL refuses too: nothing gets round it."""

import json

import pytest
from django.db import DatabaseError, connection, transaction

from payouts.models import Payout
from tests.make import make_payout, shown
from tests.test_bad_input import deep

pytestmark = pytest.mark.django_db


def update(payout, assignment, value):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE payouts_payout SET {assignment} WHERE id = %s", [value, payout.pk])  # noqa: S608


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("amount", value) for value in ("0", "0.00", "0.004", "-1", "10000000000", "NaN", "Infinity", None)),
        *(("currency", value) for value in ("GBP", "rub", "", "RUBB", None)),
        *(("status", value) for value in ("PAID", "", "new", None)),
        *(("comment", value) for value in ("a" * 1001, "💸" * 1001, None)),
        *(("failure_reason", value) for value in ("on a NEW one", None)),
        *(("gateway_reference", value) for value in ("a" * 256, None)),
        *(("note", value) for value in ("a" * 1001, None)),
        *(("recipient_details", json.dumps(value)) for value in ({}, [], [1], "text", 1, True, None)),
        *(("recipient_details", json.dumps(value)) for value in (deep(33), {"a": [deep(31)]}, {"a": "x" * 16_384})),
        *(("recipient_details", value) for value in ('{"a": 1e20000}', '{"a": "\\u0000"}', None)),
        *(("user_id", value) for value in (2**63, "x")),
        ("attempt", None),
        ("due_at", None),
        ("hold", "approval"),
        ("processed_at", "2026-01-01"),
        ("idempotency_key", "a" * 256),
    ],
    ids=shown,
)
def test_a_limit_holds_in_sql(column, value):
    with pytest.raises(DatabaseError):
        update(make_payout(), f"{column} = %s", value)


@pytest.mark.parametrize(
    ("status", "assignment"),
    [
        *(("NEW", f"status = '{status}'") for status in ("COMPLETED", "FAILED", "CANCELLED")),
        ("NEW", "deleted_at = now()"),
        ("NEW", "taken_at = now(), hold = 'approval', due_at = NULL"),
        ("PROCESSING", "due_at = NULL, taken_at = NULL"),
        ("PROCESSING", "due_at = NULL, note = 'HTTP 504'"),
        *((status, "due_at = now()") for status in ("FAILED", "CANCELLED")),
        *((status, "taken_at = now()") for status in ("COMPLETED", "FAILED", "CANCELLED")),
    ],
)
def test_a_status_needs_what_belongs_to_it(status, assignment):
    with pytest.raises(DatabaseError):
        update(make_payout(status), f"{assignment}, amount = %s", 1)


@pytest.mark.parametrize(
    ("status", "assignment"),
    [
        ("NEW", "due_at = NULL, hold = 'approval'"),
        ("NEW", "due_at = NULL, deleted_at = now()"),
        ("PROCESSING", "due_at = NULL, taken_at = NULL, note = 'HTTP 504'"),
        # The provider has hinted that the money came back.
        ("COMPLETED", "due_at = now()"),
    ],
)
def test_when_a_worker_is_next_to_take_it_may_be_left_open(status, assignment):
    update(make_payout(status), f"{assignment}, amount = %s", 1)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("amount", value) for value in ("0.01", "9999999999.99")),
        *(("comment", value) for value in ("", "💸" * 1000)),
        *(("recipient_details", json.dumps(value)) for value in (deep(32), {"a": "x" * 16_375}, {"a": [deep(30)]})),
    ],
    ids=shown,
)
def test_a_limit_can_be_reached_in_sql(column, value):
    update(make_payout(), f"{column} = %s", value)


def test_a_key_belongs_to_one_payout_of_a_caller():
    make_payout(caller="shop", idempotency_key="k")
    make_payout(caller="other shop", idempotency_key="k")
    with pytest.raises(DatabaseError), transaction.atomic():
        make_payout(caller="shop", idempotency_key="k")
    assert Payout.objects.filter(idempotency_key="k").count() == 2
