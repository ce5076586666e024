"""The back office's start page: the last 24 hours."""

import json
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from payouts.machine import Status
from tests.back_office import CARD, IN_DOUBT, PENDING, WAITING, staff
from tests.make import make_payout

pytestmark = pytest.mark.django_db


def test_the_start_page_shows_no_card_number(superuser):
    make_payout(Status.FAILED, failure_reason=f"no card {CARD}")
    page = superuser.get("/admin/").content.decode()
    assert (CARD in page, "no card **** 1111" in page) == (False, True)


def test_the_start_page_sums_up_the_last_24_hours(superuser):
    make_payout(Status.FAILED, amount=2, failure_reason="No such card.")
    make_payout(Status.FAILED, amount="3.50", failure_reason="No such card.")
    make_payout(Status.COMPLETED, created_at=Now() - timedelta(days=2))
    make_payout(created_at=Now() - timedelta(hours=23, minutes=59))
    make_payout(deleted_at=Now())
    make_payout(Status.PROCESSING, **IN_DOUBT)
    make_payout(Status.PROCESSING, **PENDING)
    make_payout(Status.PROCESSING, **WAITING)
    page = superuser.get("/admin/")
    context = page.context
    assert "the oldest: 23\xa0hours, 59\xa0minutes" in page.content.decode()
    # What waits for a person, is in doubt, is pending, is NEW and is PROCESSING.
    assert [census["number"] for *_, census in context["cards"]] == [1, 1, 1, 1, 3]
    assert context["sums"]["rows"][0] == ["Failed", 2, "5.50\u00a0RUB"]
    assert context["failures"]["rows"] == [["No such card.", 2]]
    assert sorted(line[:2] for line in context["sums"]["rows"]) == [["Failed", 2], ["New", 1], ["Processing", 3]]
    bars = {bar["label"]: bar["data"] for bar in json.loads(context["chart"])["datasets"]}
    assert sum(bars["Failed"]) == 2


def test_the_start_page_shows_nothing_without_a_permission():
    make_payout()
    assert "cards" not in staff().get("/admin/").context
