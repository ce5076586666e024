"""The task: claim, pay, finish."""

import time
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from prometheus_client import REGISTRY

from payouts.gateways import paid, refused, sandbox, unknown
from payouts.gateways.sandbox import REFUSED_NUMBER, UNKNOWN_NUMBER
from payouts.machine import Status
from payouts.models import Payout
from payouts.tasks import RETRY_LONGEST, backoff, pay, process
from tests.make import make_payout, make_processing, process_payout, reload, row, url_of

pytestmark = pytest.mark.django_db


def test_a_new_payout_is_paid():
    payout = process_payout()
    assert (payout.status, payout.attempt, payout.due_at, payout.taken_at) == (Status.COMPLETED, 1, None, None)
    assert payout.processed_at is not None
    assert payout.gateway_reference == f"sandbox-{payout.pk}"


def test_a_worker_whose_lease_is_nearly_over_does_not_ask(settings):
    settings.PAYOUT_LEASE, settings.PAYOUT_GATEWAY_TIMEOUT = timedelta(seconds=0.2), 0.1
    payout = Payout.objects.claim(make_payout().pk, by="a test")
    time.sleep(0.15)
    pay(payout)
    assert reload(payout).status == Status.PROCESSING


def test_a_refused_payout_fails_with_a_reason():
    payout = process_payout(recipient_details={"number": REFUSED_NUMBER})
    assert (payout.status, payout.failure_reason) == (Status.FAILED, "The sandbox refuses this card.")


@pytest.mark.parametrize(
    ("number", "first", "later"),
    [
        (sandbox.REFUSED_NUMBER, (Status.FAILED, ""), None),
        (sandbox.UNKNOWN_NUMBER, (Status.PROCESSING, "DOUBT"), (Status.PROCESSING, "DOUBT")),
        (sandbox.PENDING_PAID_NUMBER, (Status.PROCESSING, "PENDING"), (Status.COMPLETED, "")),
        (sandbox.PENDING_REFUSED_NUMBER, (Status.PROCESSING, "PENDING"), (Status.FAILED, "")),
        (sandbox.RETURNED_NUMBER, (Status.COMPLETED, ""), (Status.FAILED, "")),
    ],
)
def test_each_card_of_the_sandbox_goes_its_way(number, first, later):
    def state():
        return Payout.objects.with_stage().values_list("status", "stage").get(pk=payout.pk)

    payout = process_payout(recipient_details={"number": number})
    assert state() == first
    if later:
        Payout.objects.filter(pk=payout.pk).update(due_at=Now() - timedelta(seconds=1))
        process(str(payout.pk))
        assert state() == later


@pytest.mark.parametrize(
    ("number", "level", "message"),
    [
        ("4111111111111111", "INFO", "finished"),
        (REFUSED_NUMBER, "INFO", "finished"),
        (sandbox.PENDING_PAID_NUMBER, "INFO", "the provider works on it"),
        (UNKNOWN_NUMBER, "WARNING", "outcome unknown: the sandbox does not say"),
    ],
)
def test_the_log_says_what_an_attempt_came_to(caplog, number, level, message):
    with caplog.at_level("INFO", "payouts.tasks"):
        payout = process_payout(recipient_details={"number": number})
    [record] = [record for record in caplog.records if record.name == "payouts.tasks"]
    assert (record.levelname, record.message) == (level, message)
    assert (record.fields["payout"], record.fields["gateway"], record.fields["attempt"]) == (payout.pk, "sandbox", 1)
    assert ("again_in" in record.fields) == (payout.status == Status.PROCESSING)


def test_the_log_says_that_money_came_back(caplog):
    payout = make_payout(Status.COMPLETED, recipient_details={"number": sandbox.RETURNED_NUMBER})
    Payout.objects.filter(pk=payout.pk).update(due_at=Now() - timedelta(seconds=1))
    process(str(payout.pk))
    assert "the money came back: Returned: The sandbox returns this card's money." in caplog.text


def test_a_setting_makes_the_sandbox_refuse_at_random(settings):
    settings.SANDBOX_FAILURE_RATE = 1
    assert process_payout().status == Status.FAILED


def test_a_payout_of_unknown_outcome_stays_processing_and_is_due_later():
    payout = process_payout(recipient_details={"number": UNKNOWN_NUMBER})
    assert (payout.status, payout.attempt, payout.processed_at) == (Status.PROCESSING, 1, None)
    assert Payout.objects.filter(pk=payout.pk, due_at__gt=Now(), taken_at=None).exists()


def test_the_note_says_why_the_outcome_is_unknown_until_it_is_known():
    payout = process_payout(recipient_details={"number": UNKNOWN_NUMBER}, note="sent back")
    assert payout.note == "the sandbox does not say"
    Payout.objects.filter(pk=payout.pk).update(due_at=Now(), recipient_details={"number": "4111111111111111"})
    assert Payout.objects.claim_due(Status.PROCESSING, by="a test")[0].note == "the sandbox does not say"
    Payout.objects.filter(pk=payout.pk).update(due_at=Now() - timedelta(seconds=1))
    process(str(payout.pk))
    assert (reload(payout).status, reload(payout).note) == (Status.COMPLETED, "")


def test_a_gateway_that_breaks_leaves_the_outcome_unknown(settings):
    settings.SANDBOX_DELAY = "not a number"
    assert process_payout().status == Status.PROCESSING


@pytest.mark.parametrize("status", [status for status in Status if status != Status.NEW])
def test_a_second_delivery_changes_nothing(status):
    payout = make_payout(status)
    before = row(payout)
    process(str(payout.pk))
    assert row(payout) == before


def test_a_deleted_payout_is_not_paid():
    assert process_payout(deleted_at=Now()).status == Status.NEW


def test_a_message_with_an_unknown_id_is_ignored():
    process("01a1fcaf-a016-7176-b7af-bb375d1fea01")


def test_a_payout_whose_lease_ran_out_is_taken_over():
    payout = make_processing(lease_is_over=True)
    process(str(payout.pk))
    assert (reload(payout).status, reload(payout).attempt) == (Status.COMPLETED, 2)


def test_a_worker_that_has_no_time_for_a_call_does_not_ask(settings):
    settings.PAYOUT_LEASE = timedelta(seconds=settings.PAYOUT_GATEWAY_TIMEOUT)
    payout = process_payout()
    assert (payout.status, payout.attempt, payout.note) == (Status.PROCESSING, 1, "")


def test_a_worker_that_was_overtaken_changes_nothing():
    payout = make_payout()
    slow = Payout.objects.claim(payout.pk, by="a test")
    Payout.objects.filter(pk=payout.pk).update(due_at=Now() - timedelta(seconds=1))
    quick = Payout.objects.claim(payout.pk, by="a test")
    assert not Payout.objects.finish(slow, refused("too late"), by="a test")
    assert Payout.objects.finish(quick, paid(), by="a test")
    assert reload(payout).status == Status.COMPLETED


@pytest.mark.parametrize(("number", "dropped"), [("4111", 1), (REFUSED_NUMBER, 0)])
def test_only_a_dropped_payment_counts_as_dropped(number, dropped):
    slow = Payout.objects.claim(make_payout(recipient_details={"number": number}).pk, by="a test")
    Payout.objects.filter(pk=slow.pk).update(attempt=2)
    before = REGISTRY.get_sample_value("payouts_dropped_payments_total")
    pay(slow)
    assert REGISTRY.get_sample_value("payouts_dropped_payments_total") == before + dropped


def test_a_worker_cannot_finish_a_payout_that_sql_has_cancelled():
    payout = make_payout()
    slow = Payout.objects.claim(payout.pk, by="a test")
    Payout.objects.filter(pk=payout.pk).update(status=Status.CANCELLED, due_at=None, taken_at=None)
    assert not Payout.objects.finish(slow, paid(), by="a test")
    assert reload(payout).status == Status.CANCELLED


SETTLEMENT = {"status": Status.FAILED, "failure_reason": "Never booked.", "note": "The provider says so."}


def settle(payout, **seen):
    return Payout.objects.settle_doubt(payout.pk, SETTLEMENT, by="a test", **seen)


def test_a_person_can_settle_a_payout_in_doubt_while_no_worker_holds_it():
    payout = make_payout(note="sent back")
    first = Payout.objects.claim(payout.pk, by="a test")
    # Refused: the outcome is not in doubt.
    assert not settle(payout)
    assert Payout.objects.finish(first, unknown("HTTP 504"), by="a test", again_in=timedelta(seconds=-1))
    second = Payout.objects.claim(payout.pk, by="a test")
    # Refused: a worker holds the payout.
    assert not settle(payout)
    Payout.objects.filter(pk=payout.pk).update(due_at=Now() - timedelta(seconds=1))
    assert not settle(payout, submission=2)
    assert settle(payout, submission=1)
    assert not Payout.objects.finish(second, paid(), by="a test")
    assert not settle(payout)
    settled = reload(payout)
    assert (settled.status, settled.attempt, settled.note) == (Status.FAILED, 3, "The provider says so.")
    assert (settled.due_at, settled.taken_at) == (None, None)


@pytest.mark.parametrize("status", [status for status in Status if status != Status.PROCESSING])
def test_a_payout_that_is_not_in_doubt_cannot_be_settled(status):
    payout = make_payout(status, note="known")
    before = row(payout)
    assert not settle(payout)
    assert row(payout) == before


def test_a_claim_returns_the_fields_to_pay():
    payout = make_payout(amount="7.77", currency="EUR", recipient_details={"iban": "x"}, comment="c")
    claimed = Payout.objects.claim(payout.pk, by="a test")
    assert (str(claimed.amount), claimed.currency, claimed.recipient_details) == ("7.77", "EUR", {"iban": "x"})
    assert (claimed.status, claimed.attempt, claimed.comment) == (Status.PROCESSING, 1, "c")
    assert claimed.updated_at > payout.updated_at


def test_processing_takes_two_statements(django_assert_num_queries):
    payout = make_payout()
    with django_assert_num_queries(2):
        process(str(payout.pk))


def test_a_retry_by_a_person_is_a_new_submission_to_the_gateway(api):
    payout = process_payout(recipient_details={"number": REFUSED_NUMBER})
    api.patch(url_of(payout), {"status": "NEW", "recipient_details": {"number": "4111111111111111"}})
    process(str(payout.pk))
    payout = reload(payout)
    assert (payout.status, payout.submission, payout.attempt) == (Status.COMPLETED, 2, 2)


@pytest.mark.parametrize("attempt", [1, 2, 5, 50, 10_000])
def test_the_wait_before_the_next_attempt_grows_up_to_a_limit(attempt):
    longest = min(timedelta(seconds=10) * 2 ** min(attempt - 1, 20), RETRY_LONGEST)
    assert longest / 2 <= backoff(attempt) <= longest
