"""Connections that want the same payout at the same time: exactly one gets it."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from payouts.gateways import paid
from payouts.machine import Status
from payouts.models import Payout
from tests.make import make_payout

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = 25
NEVER_BOOKED = {"status": Status.FAILED, "failure_reason": "Never booked."}


def run_at_once(*actions):
    start = Barrier(len(actions))

    def run(action):
        try:
            connection.ensure_connection()
            start.wait()
            return action()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))


def claim(payout):
    return lambda: Payout.objects.claim(payout.pk, by="a test") is not None


def change(payout, **fields):
    return lambda: Payout.objects.change(payout.pk, fields, by="a test")


def test_one_of_four_claims_gets_the_payout():
    for _ in range(ROUNDS):
        payout = make_payout()
        assert sum(run_at_once(*[claim(payout)] * 4)) == 1
        payout.refresh_from_db()
        assert payout.attempt == 1


@pytest.mark.parametrize("target", [Status.CANCELLED, Status.COMPLETED, Status.FAILED])
def test_either_the_worker_or_the_person_wins(target):
    for _ in range(ROUNDS):
        payout = make_payout()
        claimed, changed = run_at_once(claim(payout), change(payout, status=target))
        payout.refresh_from_db()
        assert claimed != changed
        assert payout.status == (Status.PROCESSING if claimed else target)


def test_a_claim_has_the_amount_that_the_row_has():
    for _ in range(ROUNDS):
        payout = make_payout(amount="1.00")
        claimed, changed = run_at_once(
            lambda p=payout: Payout.objects.claim(p.pk, by="a test"), change(payout, amount="2.00")
        )
        payout.refresh_from_db()
        assert claimed.amount == payout.amount
        assert str(payout.amount) == ("2.00" if changed else "1.00")


def test_recovery_skips_a_locked_payout():
    locked, due = (make_payout(created_at=Now() - timedelta(seconds=age)) for age in (30, 20))

    def claim_due():
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '2s'")
        return next(iter(Payout.objects.claim_due(Status.NEW, by="a test")), None)

    with transaction.atomic():
        Payout.objects.select_for_update().get(pk=locked.pk)
        [payout] = run_at_once(claim_due)
    assert payout.pk == due.pk


def test_either_the_claim_or_the_delete_wins():
    for _ in range(ROUNDS):
        payout = make_payout()
        claimed, removed = run_at_once(claim(payout), lambda p=payout: Payout.objects.remove(p.pk, by="a test"))
        payout.refresh_from_db()
        assert claimed != removed
        assert (payout.deleted_at is not None) == removed


def test_one_of_two_persons_wins():
    for _ in range(ROUNDS):
        payout = make_payout()
        cancelled, completed = run_at_once(change(payout, status="CANCELLED"), change(payout, status="COMPLETED"))
        payout.refresh_from_db()
        assert cancelled != completed
        assert payout.status == ("CANCELLED" if cancelled else "COMPLETED")


def test_one_of_two_retries_makes_the_new_submission():
    for _ in range(ROUNDS):
        payout = make_payout(Status.FAILED)
        assert sum(run_at_once(*[change(payout, status="NEW")] * 2)) == 1
        payout.refresh_from_db()
        assert payout.submission == 2


def test_either_the_worker_or_the_person_settles_a_payout_in_doubt():
    for _ in range(ROUNDS):
        payout = make_payout(Status.PROCESSING, note="HTTP 504", due_at=Now() - timedelta(seconds=1))
        finished, settled = run_at_once(
            lambda p=payout: Payout.objects.finish(p, paid(), by="a test"),
            lambda p=payout: Payout.objects.settle_doubt(p.pk, NEVER_BOOKED, by="a test"),
        )
        payout.refresh_from_db()
        assert finished != settled
        assert payout.status == (Status.COMPLETED if finished else Status.FAILED)
