"""What recovery finds due, and that finding it does not depend on the size of the table."""

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


def old(seconds):
    return Now() - timedelta(seconds=seconds)


def test_takes_the_oldest_new_one_that_waited_too_long():
    make_payout(created_at=old(5))
    second = make_payout(created_at=old(20))
    oldest = make_payout(created_at=old(30))
    taken = Payout.objects.claim_due(Status.NEW, by="a test")
    assert (taken.pk, taken.status, taken.attempt) == (oldest.pk, Status.PROCESSING, 1)
    assert Payout.objects.claim_due(Status.NEW, by="a test").pk == second.pk
    assert Payout.objects.claim_due(Status.NEW, by="a test") is None


def test_goes_on_from_the_one_that_it_took_last():
    make_payout(created_at=old(30))
    next_one = make_payout(created_at=old(20))
    assert Payout.objects.claim_due(Status.NEW, since=next_one.created_at, by="a test").pk == next_one.pk
    assert Payout.objects.claim_due(Status.NEW, since=next_one.created_at, by="a test") is None


def test_takes_the_one_whose_lease_ran_out():
    make_processing(lease_is_over=False)
    due = make_processing(lease_is_over=True)
    taken = Payout.objects.claim_due(Status.PROCESSING, by="a test")
    assert (taken.pk, taken.attempt) == (due.pk, 2)
    assert Payout.objects.claim_due(Status.PROCESSING, by="a test") is None


def test_passes_by_what_somebody_has_deleted_by_sql():
    Payout.objects.filter(pk=make_processing(lease_is_over=True).pk).update(
        deleted_at=Now(), due_at=None, taken_at=None
    )
    due = make_processing(lease_is_over=True)
    assert Payout.objects.claim_due(Status.PROCESSING, by="a test").pk == due.pk


def test_what_no_message_announced_has_its_request_s_id_all_the_same(caplog):
    payout = make_payout(created_at=old(20), changed_by="shop req-1")
    ids = []
    caplog.handler.addFilter(lambda _record: ids.append(context.request_id.get()) or True)
    with caplog.at_level("INFO", "payouts.tasks"):
        tasks.pay(Payout.objects.claim_due(Status.NEW, by="a test"))
    authors = PayoutChange.objects.filter(payout_id=payout.pk).values_list("changed_by", flat=True)
    assert (set(ids), {by.split()[-1] for by in authors}) == ({"req-1"}, {"req-1"})


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.CANCELLED])
def test_leaves_what_is_done(status):
    make_payout(status, created_at=old(99))
    assert Payout.objects.claim_due(Status.NEW, by="a test") is None
    assert Payout.objects.claim_due(Status.PROCESSING, by="a test") is None


def test_leaves_what_was_deleted():
    make_payout(created_at=old(99), deleted_at=Now())
    assert Payout.objects.claim_due(Status.NEW, by="a test") is None


@pytest.mark.parametrize("status", [Status.NEW, Status.PROCESSING])
def test_reads_a_partial_index_however_many_are_finished(status):
    multiply(make_payout(Status.COMPLETED, created_at=old(99)), 5000)
    make_payout(created_at=old(30))
    make_processing(lease_is_over=True)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE payouts_payout")
        with CaptureQueriesContext(connection) as queries:
            assert Payout.objects.claim_due(status, by="a test") is not None
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS) {queries[0]['sql']}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    # Where few wait, both are as cheap.
    assert re.search("using payout_by_(due|status) on", plan)
    assert "Seq Scan" not in plan
