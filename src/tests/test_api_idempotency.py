"""POST with an Idempotency-Key."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from rest_framework.test import APIClient

from payouts.models import Payout
from tests.make import REQUEST, URL, make_payout

pytestmark = pytest.mark.django_db(transaction=True)


def post(api, key, **fields):
    return api.post(URL, {**REQUEST, **fields}, headers={"Idempotency-Key": key})


def test_a_repeated_request_creates_no_second_payout(api):
    first, second = post(api, "k"), post(api, "k")
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert ("Idempotent-Replayed" in first, second["Idempotent-Replayed"]) == (False, "true")
    assert Payout.objects.count() == 1


def test_each_request_without_a_key_creates_a_payout(api):
    assert {api.post(URL, REQUEST).status_code for _ in range(3)} == {201}
    assert Payout.objects.count() == 3


def test_a_replay_shows_the_payout_as_it_is_now(api):
    payout = post(api, "k").json()
    api.patch(f"{URL}{payout['id']}/", {"status": "CANCELLED", "amount": "5.00"})
    assert {name: post(api, "k").json()[name] for name in ("status", "amount")} == {
        "status": "CANCELLED",
        "amount": "5.00",
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"amount": 100.5},
        {"amount": "100.5"},
        {"amount": "0100.50"},
        {"comment": ""},
        {"user_id": None},
        {"status": "COMPLETED", "created_at": 1},
        {"recipient_details": {"n": [1, {"b": 2, "a": "é"}]}},
    ],
    ids=str,
)
def test_the_same_values_in_other_bytes_are_the_same_request(api, fields):
    details = {"recipient_details": {"n": [1, {"a": "é", "b": 2}]}} if "recipient_details" in fields else {}
    post(api, "k", **details)
    assert post(api, "k", **fields).status_code == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"amount": "100.51"},
        {"currency": "USD"},
        {"comment": "x"},
        {"user_id": 0},
        {"recipient_details": {"number": 4111111111111111}},
        {"recipient_details": {"number": "4111111111111111", "x": None}},
    ],
    ids=str,
)
def test_another_request_with_the_same_key_is_422(api, fields):
    post(api, "k")
    answer = post(api, "k", **fields)
    assert (answer.status_code, answer.json().keys()) == (422, {"detail"})
    assert Payout.objects.count() == 1


def test_a_number_and_its_whole_part_are_not_the_same(api):
    post(api, "k", recipient_details={"share": 1})
    assert post(api, "k", recipient_details={"share": 1.5}).status_code == 422


def test_a_refused_request_does_not_use_up_its_key(api):
    assert post(api, "k", amount="0").status_code == 400
    assert post(api, "k").status_code == 201


def test_the_key_of_a_deleted_payout_is_410(api):
    payout = post(api, "k").json()
    api.delete(f"{URL}{payout['id']}/")
    assert post(api, "k").status_code == 410
    assert Payout.objects.count() == 1


def test_a_key_belongs_to_its_caller(api):
    make_payout(caller="another", idempotency_key="k")
    assert post(api, "k").status_code == 201


@pytest.mark.parametrize("key", ["a", " a b", "~!@#$%^&*()", "x" * 255])
def test_a_printable_key_is_accepted(api, key):
    assert post(api, key).status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "é", "a\x00b", "a\tb", "\x7f"])
def test_any_other_key_is_refused(api, key):
    answer = post(api, key)
    assert (answer.status_code, answer.json().keys()) == (400, {"Idempotency-Key"})
    assert not Payout.objects.exists()


def test_one_of_24_requests_at_once_creates_the_payout():
    def post_once(_number):
        try:
            return post(APIClient(), "k")
        finally:
            connection.close()

    with ThreadPoolExecutor(24) as callers:
        answers = list(callers.map(post_once, range(24)))
    assert sorted(answer.status_code for answer in answers) == [200] * 23 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert Payout.objects.count() == 1


def test_a_keyed_request_costs_one_query_and_a_replay_two(api, django_assert_num_queries):
    with django_assert_num_queries(1):
        post(api, "k")
    with django_assert_num_queries(2):
        post(api, "k")
