"""Which payouts recovery takes, and in which order."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from prometheus_client import REGISTRY

from payouts import machine, tasks
from payouts.gateways.sandbox import RETURNED_NUMBER
from payouts.machine import Status
from payouts.models import Payout, PayoutChange
from payouts.recovery import WATCHED, pay_recovered
from runtime import context
from tests.back_office import IN_DOUBT, PENDING, WAITING
from tests.make import make_payout, make_processing, multiply

pytestmark = pytest.mark.django_db


def claim_due(status, **options):
    """The one payout that is due for longest, or None."""
    return next(iter(Payout.objects.claim_due(status, by="a test", **options)), None)


def seconds_ago(seconds):
    return Now() - timedelta(seconds=seconds)


def test_recovery_takes_new_payouts_that_waited_too_long_and_the_oldest_first():
    make_payout(created_at=seconds_ago(5))
    second = make_payout(created_at=seconds_ago(20))
    oldest = make_payout(created_at=seconds_ago(30))
    payout = claim_due(Status.NEW)
    assert (payout.pk, payout.status, payout.attempt) == (oldest.pk, Status.PROCESSING, 1)
    assert claim_due(Status.NEW).pk == second.pk
    assert claim_due(Status.NEW) is None


def test_recovery_goes_on_after_the_payout_that_it_took_last():
    make_payout(created_at=seconds_ago(30))
    later = make_payout(created_at=seconds_ago(20))
    assert claim_due(Status.NEW, since=later.created_at).pk == later.pk
    assert claim_due(Status.NEW, since=later.created_at) is None


def test_recovery_takes_a_payout_whose_lease_is_over():
    make_processing(lease_is_over=False)
    due = make_processing(lease_is_over=True)
    payout = claim_due(Status.PROCESSING)
    assert (payout.pk, payout.attempt) == (due.pk, 2)
    assert claim_due(Status.PROCESSING) is None


def test_recovery_leaves_a_payout_that_sql_has_deleted():
    Payout.objects.filter(pk=make_processing(lease_is_over=True).pk).update(
        deleted_at=Now(), due_at=None, taken_at=None
    )
    due = make_processing(lease_is_over=True)
    assert claim_due(Status.PROCESSING).pk == due.pk


def test_a_payout_that_recovery_pays_keeps_its_request_id(caplog):
    payout = make_payout(created_at=seconds_ago(20), changed_by="shop req-1")
    ids = []
    caplog.handler.addFilter(lambda _record: ids.append(context.request_id.get()) or True)
    with caplog.at_level("INFO", "payouts.tasks"):
        tasks.pay(claim_due(Status.NEW))
    authors = PayoutChange.objects.filter(payout_id=payout.pk).values_list("changed_by", flat=True)
    assert (set(ids), {by.split()[-1] for by in authors}) == ({"req-1"}, {"req-1"})


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.CANCELLED])
def test_recovery_leaves_a_payout_with_a_final_status(status):
    make_payout(status, created_at=seconds_ago(99))
    for which in (Status.NEW, Status.PROCESSING, Status.COMPLETED):
        assert claim_due(which) is None


def test_recovery_takes_a_completed_payout_of_which_somebody_has_hinted():
    make_payout(Status.COMPLETED)
    make_payout(Status.COMPLETED, due_at=Now() + timedelta(minutes=1))
    hinted = make_payout(Status.COMPLETED, due_at=seconds_ago(1), recipient_details={"number": RETURNED_NUMBER})
    payout = claim_due(Status.COMPLETED)
    assert (payout.pk, payout.status, payout.attempt) == (hinted.pk, Status.COMPLETED, 2)
    assert claim_due(Status.COMPLETED) is None
    tasks.pay(payout)
    assert Payout.objects.get(pk=hinted.pk).failure_reason.startswith("Returned: ")


def test_recovery_takes_over_the_look_of_a_worker_that_died():
    hour = timedelta(hours=1)
    dead = make_payout(Status.COMPLETED, taken_at=Now() - hour, due_at=Now() - hour)
    assert claim_due(Status.COMPLETED).pk == dead.pk


def test_recovery_looks_for_each_status_that_can_be_due():
    assert {status for statuses in WATCHED for status in statuses} == {*machine.sources(machine.transitions("claim"))}


@pytest.mark.parametrize("stage", [PENDING, IN_DOUBT], ids=["pending", "in doubt"])
def test_recovery_takes_an_open_payout_when_its_time_has_come(stage):
    make_payout(Status.PROCESSING, **stage, due_at=Now() + timedelta(minutes=1))
    due = make_payout(Status.PROCESSING, **stage, due_at=seconds_ago(1))
    assert claim_due(Status.PROCESSING).pk == due.pk
    assert claim_due(Status.PROCESSING) is None


def test_recovery_leaves_what_waits_for_a_person():
    make_payout(Status.PROCESSING, **WAITING)
    assert claim_due(Status.PROCESSING) is None


@pytest.mark.parametrize(
    ("fields", "number"), [({}, 1), ({"note": "HTTP 504"}, 0), ({"pending_since": Now()}, 0)], ids=str
)
def test_the_metrics_count_what_a_worker_took_and_said_nothing_of(fields, number):
    make_payout(Status.PROCESSING, due_at=seconds_ago(1), **fields)
    before = REGISTRY.get_sample_value("payouts_abandoned_total")
    pay_recovered(claim_due(Status.PROCESSING), Status.PROCESSING)
    assert REGISTRY.get_sample_value("payouts_abandoned_total") == before + number


def test_recovery_leaves_a_deleted_payout():
    make_payout(created_at=seconds_ago(99), deleted_at=Now())
    assert claim_due(Status.NEW) is None


@pytest.mark.parametrize("status", [Status.NEW, Status.PROCESSING, Status.COMPLETED])
def test_recovery_reads_an_index_however_many_payouts_are_final(status):
    multiply(make_payout(Status.COMPLETED, created_at=seconds_ago(99)), 5000)
    make_payout(created_at=seconds_ago(30))
    make_processing(lease_is_over=True)
    make_payout(Status.COMPLETED, due_at=seconds_ago(1))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE payouts_payout")
        with CaptureQueriesContext(connection) as queries:
            assert claim_due(status) is not None
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS) {queries[0]['sql']}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    # With so few payouts, PostgreSQL may use either index.
    assert re.search("using payout_by_(due|status|hint) on", plan)
    assert "Seq Scan" not in plan
