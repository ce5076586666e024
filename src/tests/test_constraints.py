"""The constraints of the table: PostgreSQL refuses what the API refuses."""

import json

import pytest
from django.db import DatabaseError, connection, transaction

from payouts.models import Payout
from tests.make import make_payout, nest, short_id

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
        *(("failure_code", value) for value in ("a" * 101, None)),
        *(("note", value) for value in ("a" * 1001, None)),
        *(("recipient_details", json.dumps(value)) for value in ({}, [], [1], "text", 1, True, None)),
        *(("recipient_details", json.dumps(value)) for value in (nest(33), {"a": [nest(31)]}, {"a": "x" * 16_384})),
        *(("recipient_details", value) for value in ('{"a": 1e20000}', '{"a": "\\u0000"}', None)),
        *(("user_id", value) for value in (2**63, "x")),
        ("attempt", None),
        ("due_at", None),
        ("hold", "approval"),
        ("processed_at", "2026-01-01"),
        ("idempotency_key", "a" * 256),
    ],
    ids=short_id,
)
def test_sql_cannot_exceed_a_limit(column, value):
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
def test_sql_cannot_separate_a_status_from_its_columns(status, assignment):
    with pytest.raises(DatabaseError):
        update(make_payout(status), f"{assignment}, amount = %s", 1)


@pytest.mark.parametrize(
    ("status", "assignment"),
    [
        ("NEW", "due_at = NULL, hold = 'approval'"),
        ("NEW", "due_at = NULL, deleted_at = now()"),
        ("PROCESSING", "due_at = NULL, taken_at = NULL, note = 'HTTP 504'"),
        # A worker has to look, because the money may have come back.
        ("COMPLETED", "due_at = now()"),
    ],
)
def test_sql_may_leave_due_at_empty_or_set_where_the_status_allows_it(status, assignment):
    update(make_payout(status), f"{assignment}, amount = %s", 1)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("amount", value) for value in ("0.01", "9999999999.99")),
        *(("comment", value) for value in ("", "💸" * 1000)),
        ("failure_code", "💸" * 100),
        *(("recipient_details", json.dumps(value)) for value in (nest(32), {"a": "x" * 16_375}, {"a": [nest(30)]})),
    ],
    ids=short_id,
)
def test_sql_can_reach_a_limit(column, value):
    update(make_payout(), f"{column} = %s", value)


def test_a_caller_has_one_payout_for_each_key():
    make_payout(caller="shop", idempotency_key="k")
    make_payout(caller="other shop", idempotency_key="k")
    with pytest.raises(DatabaseError), transaction.atomic():
        make_payout(caller="shop", idempotency_key="k")
    assert Payout.objects.filter(idempotency_key="k").count() == 2
