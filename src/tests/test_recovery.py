"""Which payouts recovery takes, and in which order."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from payouts import tasks
from payouts.machine import Status
from payouts.models import Payout, PayoutChange
from runtime import context
from tests.make import make_payout, make_processing, multiply

pytestmark = pytest.mark.django_db


def seconds_ago(seconds):
    return Now() - timedelta(seconds=seconds)


def test_recovery_takes_new_payouts_that_waited_too_long_and_the_oldest_first():
    make_payout(created_at=seconds_ago(5))
    second = make_payout(created_at=seconds_ago(20))
    oldest = make_payout(created_at=seconds_ago(30))
    payout = Payout.objects.claim_due(Status.NEW, by="a test")
    assert (payout.pk, payout.status, payout.attempt) == (oldest.pk, Status.PROCESSING, 1)
    assert Payout.objects.claim_due(Status.NEW, by="a test").pk == second.pk
    assert Payout.objects.claim_due(Status.NEW, by="a test") is None


def test_recovery_goes_on_after_the_payout_that_it_took_last():
    make_payout(created_at=seconds_ago(30))
    later = make_payout(created_at=seconds_ago(20))
    assert Payout.objects.claim_due(Status.NEW, since=later.created_at, by="a test").pk == later.pk
    assert Payout.objects.claim_due(Status.NEW, since=later.created_at, by="a test") is None


def test_recovery_takes_a_payout_whose_lease_is_over():
    make_processing(lease_is_over=False)
    due = make_processing(lease_is_over=True)
    payout = Payout.objects.claim_due(Status.PROCESSING, by="a test")
    assert (payout.pk, payout.attempt) == (due.pk, 2)
    assert Payout.objects.claim_due(Status.PROCESSING, by="a test") is None


def test_recovery_leaves_a_payout_that_sql_has_deleted():
    Payout.objects.filter(pk=make_processing(lease_is_over=True).pk).update(
        deleted_at=Now(), due_at=None, taken_at=None
    )
    due = make_processing(lease_is_over=True)
    assert Payout.objects.claim_due(Status.PROCESSING, by="a test").pk == due.pk


def test_a_payout_that_recovery_pays_keeps_its_request_id(caplog):
    payout = make_payout(created_at=seconds_ago(20), changed_by="shop req-1")
    ids = []
    caplog.handler.addFilter(lambda _record: ids.append(context.request_id.get()) or True)
    with caplog.at_level("INFO", "payouts.tasks"):
        tasks.pay(Payout.objects.claim_due(Status.NEW, by="a test"))
    authors = PayoutChange.objects.filter(payout_id=payout.pk).values_list("changed_by", flat=True)
    assert (set(ids), {by.split()[-1] for by in authors}) == ({"req-1"}, {"req-1"})


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.CANCELLED])
def test_recovery_leaves_a_payout_with_a_final_status(status):
    make_payout(status, created_at=seconds_ago(99))
    assert Payout.objects.claim_due(Status.NEW, by="a test") is None
    assert Payout.objects.claim_due(Status.PROCESSING, by="a test") is None


def test_recovery_leaves_a_deleted_payout():
    make_payout(created_at=seconds_ago(99), deleted_at=Now())
    assert Payout.objects.claim_due(Status.NEW, by="a test") is None


@pytest.mark.parametrize("status", [Status.NEW, Status.PROCESSING])
def test_recovery_reads_an_index_however_many_payouts_are_final(status):
    multiply(make_payout(Status.COMPLETED, created_at=seconds_ago(99)), 5000)
    make_payout(created_at=seconds_ago(30))
    make_processing(lease_is_over=True)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE payouts_payout")
        with CaptureQueriesContext(connection) as queries:
            assert Payout.objects.claim_due(status, by="a test") is not None
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS) {queries[0]['sql']}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    # With so few payouts, PostgreSQL may use either index.
    assert re.search("using payout_by_(due|status) on", plan)
    assert "Seq Scan" not in plan
