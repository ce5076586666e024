"""POST of a payout: what is stored, and what the answer shows."""

import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.utils.dateparse import parse_datetime

from payouts.machine import Status
from payouts.models import Payout
from tests.make import REQUEST, URL, nest

pytestmark = pytest.mark.django_db


def test_a_post_answers_with_the_payout_and_its_location(api):
    answer = api.post(URL, REQUEST)
    assert answer.status_code == 201
    assert answer["Location"] == f"http://testserver{URL}{answer.json()['id']}/"
    assert api.get(answer["Location"]).json() == answer.json()


def test_a_post_stores_all_fields(api):
    request = {**REQUEST, "user_id": 42, "comment": "Зарплата 💸"}
    payout = Payout.objects.get(pk=api.post(URL, request).json()["id"])
    stored = {name: getattr(payout, name) for name in request}
    assert {**stored, "amount": str(stored["amount"])} == request


def test_a_post_shows_every_public_field(api):
    assert api.post(URL, REQUEST).json().keys() == {
        *("id", "user_id", "amount", "currency", "recipient_details", "comment", "status", "failure_reason"),
        *("failure_code", "gateway", "gateway_reference", "attempt", "created_at", "updated_at", "processed_at"),
    }


@pytest.mark.parametrize(
    "number",
    [
        *("0", "-0.0", "0.1", "10.10", "1e2", "1E+22", "1e23", "1e300", "5e-324", "40817810099910004312"),
        # Some clients write each number with 17 digits. These are their 100.1 and 0.3.
        *("100.09999999999999", "0.29999999999999999"),
    ],
)
def test_a_number_in_the_details_stays_exact(api, number):
    answer = api.post(
        URL,
        json.dumps({**REQUEST, "recipient_details": {"a": 0}}).replace('"a": 0', f'"a": {number}'),
        content_type="application/json",
    )
    assert Decimal(str(answer.json()["recipient_details"]["a"])) == Decimal(str(json.loads(number)))


def test_the_id_is_a_uuid_of_version_7(api):
    assert uuid.UUID(api.post(URL, REQUEST).json()["id"]).version == 7


def test_the_time_of_creation_is_now_in_utc(api):
    created = parse_datetime(api.post(URL, REQUEST).json()["created_at"])
    assert created is not None
    assert created.tzinfo == UTC
    assert abs((datetime.now(UTC) - created).total_seconds()) < 60


@pytest.mark.parametrize(
    "ignored",
    [
        {"status": "COMPLETED"},
        {"status": "nonsense"},
        {"id": "01a1fcaf-a016-7176-b7af-bb375d1fea01"},
        {"created_at": "2001-01-01T00:00:00Z"},
        {"updated_at": "never"},
        {"processed_at": "2001-01-01T00:00:00Z"},
        {"attempt": 7},
        {"failure_reason": "x"},
        {"gateway_reference": "x"},
        {"gateway": "x"},
        {"failure_code": "x"},
    ],
    ids=lambda ignored: next(iter(ignored)),
)
def test_a_post_ignores_fields_that_a_caller_cannot_set(api, ignored):
    answer = api.post(URL, {**REQUEST, **ignored})
    assert answer.status_code == 201
    payout = Payout.objects.get(pk=answer.json()["id"])
    assert (payout.status, payout.attempt, payout.submission) == (Status.NEW, 0, 1)
    assert (payout.processed_at, payout.deleted_at, payout.caller) == (None, None, "")
    assert payout.created_at.year > 2001


@pytest.mark.parametrize("currency", ["RUB", "USD", "EUR"])
def test_a_post_accepts_each_currency(api, currency):
    assert api.post(URL, {**REQUEST, "currency": currency}).json()["currency"] == currency


@pytest.mark.parametrize(
    ("amount", "stored"),
    [
        ("0.01", "0.01"),
        ("1", "1.00"),
        ("1.5", "1.50"),
        ("007.10", "7.10"),
        ("9999999999.99", "9999999999.99"),
        (1, "1.00"),
        (0.01, "0.01"),
        (100.5, "100.50"),
        (9999999999.99, "9999999999.99"),
        (9999999999, "9999999999.00"),
    ],
)
def test_a_post_stores_an_amount_exactly(api, amount, stored):
    answer = api.post(URL, {**REQUEST, "amount": amount})
    assert answer.json()["amount"] == stored
    assert str(Payout.objects.get(pk=answer.json()["id"]).amount) == stored


@pytest.mark.parametrize("user_id", [None, 0, -1, 2**63 - 1, -(2**63), "42"])
def test_a_post_accepts_any_user(api, user_id):
    expected = None if user_id is None else int(user_id)
    assert api.post(URL, {**REQUEST, "user_id": user_id}).json()["user_id"] == expected


@pytest.mark.parametrize("character", ["a", "я", "中", "💸", "\n", '"', "\\", "\u2028", "\u0301", "\U0010ffff"])
def test_a_post_accepts_a_comment_of_1000_characters_of_any_kind(api, character):
    comment = "a" + character * 998 + "z"
    answer = api.post(URL, {**REQUEST, "comment": comment})
    assert answer.json()["comment"] == comment


@pytest.mark.parametrize(
    "details",
    [
        nest(32),
        {"list": [[[1]]]},
        {"number": 1e22, "small": 5e-324, "zero": -0.0, "long": 10**4000},
        {"text": "я" * 8000},
        {"": ""},
        {"\u2028": "\u0001\x7f\ufffe"},
        {"x": "a" * (16 * 1024 - len('{"x": ""}'))},
        {"shares": [0.1] * 3000},
    ],
    ids=["deep", "list", "numbers", "russian", "empty key", "odd characters", "16 KiB", "fractions"],
)
def test_a_post_accepts_any_details_within_the_limits(api, details):
    answer = api.post(URL, {**REQUEST, "recipient_details": details})
    assert answer.status_code == 201
    assert api.get(answer["Location"]).json()["recipient_details"] == details
