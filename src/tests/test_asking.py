"""Identity at the provider, and the rules of asking it: DESIGN section 7, a test for each sentence."""

import json
import time
from datetime import timedelta
from uuid import uuid5

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now

from payouts import asking, gateways
from payouts.gateways import SILENT_CALLS, absent, paid, pending, refused, returned, unknown, waits
from payouts.machine import Status
from payouts.models import Payout
from payouts.querysets import gateway_key, installation
from payouts.tasks import pay, process
from tests.banks import BANK, OTHER_BANK, SLOW_HTTP, http_options, http_server
from tests.local import free_port
from tests.make import REQUEST, URL, make_payout, row, url_of

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def bank(use_routes):
    return use_routes(others=BANK)[BANK]


@pytest.fixture
def server():
    with http_server() as started:
        yield started


@pytest.fixture
def http(settings, use_routes, server):
    """Makes the service use the HTTP gateway at the server. The options replace its settings."""

    def use(name="http", **options):
        settings.PAYOUT_HTTP_GATEWAYS = {name: http_options(**{"url": server.url, **options})}
        return use_routes(others=name)[name]

    return use


def make_open(asked_ago=MINUTE, **fields):
    """A payout that the bank was asked about some time ago, and that is due."""
    values = {"gateway": BANK, "asked_at": Now() - asked_ago, "taken_at": None, "note": "HTTP 504"}
    return make_payout(Status.PROCESSING, **{**values, "due_at": Now() - timedelta(seconds=1), **fields})


def make_hinted(**fields):
    """A payout that was paid, and of which somebody hints that the money came back."""
    values = {"gateway": BANK, "gateway_reference": "ref-1", "due_at": Now() - timedelta(seconds=1)}
    return make_payout(Status.COMPLETED, **{**values, **fields})


def attempt(payout):
    """Makes it due and processes it. Returns the row."""
    Payout.objects.filter(pk=payout.pk).update(due_at=Now() - timedelta(seconds=1))
    process(str(payout.pk))
    return Payout.objects.get(pk=payout.pk)


def post(api, key=None, **fields):
    answer = api.post(URL, {**REQUEST, **fields}, headers={"Idempotency-Key": key} if key else {})
    assert answer.status_code == 201
    return Payout.objects.get(pk=answer.json()["id"])


def lose(payout):
    """A failover loses the row."""
    Payout.objects.filter(pk=payout.pk).delete()


def due_in(payout):
    """In how many seconds it is due, from its last change on."""
    return round((payout.due_at - payout.updated_at).total_seconds())


# --- Identity at the provider


def key_of(kind, caller, value, submission=1):
    return uuid5(installation(), json.dumps([kind, caller, value, submission]))


def test_a_post_has_its_key_from_its_idempotency_key(api):
    assert post(api, "order 7").gateway_key == key_of("key", "", "order 7")


def test_a_post_without_one_has_its_key_from_its_id(api):
    payout = post(api)
    assert payout.gateway_key == key_of("id", "", str(payout.pk))


def test_a_reference_of_the_caller_stands_between_the_two():
    identity = {"id": "x", "caller": "shop", "external_id": "order 7", "idempotency_key": None}
    assert gateway_key(identity, 1) == key_of("external", "shop", "order 7")
    assert gateway_key({**identity, "idempotency_key": "k"}, 1) == key_of("key", "shop", "k")


def test_the_same_idempotency_key_of_another_caller_is_another_key():
    identity = {"id": "x", "external_id": None, "idempotency_key": "k"}
    assert gateway_key({**identity, "caller": "shop"}, 1) != gateway_key({**identity, "caller": "other"}, 1)


def test_the_installation_is_a_random_id():
    assert installation().version == 4


def test_a_lost_row_that_its_caller_sends_again_is_the_same_payment(api, bank):
    first = post(api, "order 7")
    process(str(first.pk))
    lose(first)
    second = post(api, "order 7")
    process(str(second.pk))
    assert first.pk != second.pk
    assert bank.pays == [first.gateway_key] * 2


def test_a_retry_is_another_payment(api, bank):
    bank.pay_answer = refused("No such card.")
    payout = post(api, "order 7")
    process(str(payout.pk))
    api.patch(url_of(payout), {"status": "NEW"})
    process(str(payout.pk))
    assert bank.pays == [key_of("key", "", "order 7", submission) for submission in (1, 2)]


def test_a_key_is_never_recomputed(api, bank):
    payout = post(api, "order 7")
    api.patch(url_of(payout), {"amount": "5.00", "comment": "corrected"})
    Payout.objects.filter(pk=payout.pk).update(caller="renamed", idempotency_key="another", external_id="another")
    process(str(payout.pk))
    assert bank.pays == [payout.gateway_key]


def test_a_request_holds_nothing_that_a_repetition_of_the_caller_changes(api, http, server):
    http()
    for _ in range(2):
        payout = post(api, "order 7", comment="Salary")
        process(str(payout.pk))
        lose(payout)
    first, second = server.bodies
    assert first == second
    assert first.keys() == {"key", "amount", "currency", "recipient_details", "comment", "external_id"}


@pytest.mark.parametrize(
    "body",
    [
        {"key": "01a1fcaf-a016-5176-b7af-bb375d1fea01"},
        {"key": None},
        {"amount": "100.51"},
        {"amount": None},
        {"currency": "USD"},
        {"currency": None},
    ],
    ids=str,
)
def test_an_answer_that_does_not_fit_settles_nothing_and_is_an_error(http, server, caplog, body):
    gateway = http()
    server.answer = 200, {"status": "paid", "amount": "100.50", "currency": "RUB", **body}
    payout = attempt(make_payout())
    assert (payout.status, payout.note) == (Status.PROCESSING, "the answer is about another payment")
    assert [record.message for record in caplog.records if record.levelname == "ERROR"]
    # Whatever else is on this connection is not read.
    assert gateway.client.curl is None


# --- Look before a repetition


def test_what_was_never_asked_is_sent_without_a_look(bank):
    payout = attempt(make_payout())
    assert payout.status == Status.COMPLETED
    assert (bank.pays, bank.looks) == ([payout.gateway_key], [])


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (paid("ref-1"), Status.COMPLETED),
        (refused("No such card."), Status.FAILED),
        (returned("Closed."), Status.FAILED),
        (pending("ref-1"), Status.PROCESSING),
        (unknown("does not say"), Status.PROCESSING),
    ],
    ids=lambda value: getattr(value, "outcome", value),
)
def test_what_was_asked_is_looked_up_and_not_sent(bank, answer, status):
    bank.look_answer = answer
    payout = attempt(make_open())
    assert payout.status == status
    assert (bank.pays, bank.looks) == ([], [payout.gateway_key])


def test_what_the_provider_never_got_is_sent_again_with_the_same_key(bank):
    bank.look_answer = absent("never got it")
    before = make_open()
    payout = attempt(before)
    assert payout.status == Status.COMPLETED
    assert bank.pays == bank.looks == [before.gateway_key]


def test_the_look_and_the_payment_share_one_deadline(bank, settings):
    bank.look_answer = absent("never got it")
    attempt(make_open())
    look, payment = bank.deadlines
    assert look == payment <= asking.clock() + settings.PAYOUT_GATEWAY_TIMEOUT


def test_a_gateway_that_cannot_look_gets_the_same_key_again(bank):
    bank.can_look = False
    payout = attempt(make_open())
    assert (payout.status, bank.pays, bank.looks) == (Status.COMPLETED, [payout.gateway_key], [])


# --- Absent: certainly nothing was executed


def test_what_was_certainly_not_sent_has_not_been_asked(bank):
    bank.pay_answer = absent("connection refused")
    payout = attempt(make_payout())
    assert (payout.status, payout.asked_at, payout.note) == (Status.PROCESSING, None, "connection refused")
    assert payout.due_at > payout.updated_at


def test_an_earlier_attempt_may_have_sent_it_though_this_one_has_not(bank):
    bank.look_answer, bank.pay_answer = absent("never got it"), absent("connection refused")
    before = make_open()
    assert attempt(before).asked_at == before.asked_at


def test_an_outage_that_is_longer_than_the_provider_remembers_strands_nothing(bank):
    bank.pay_answer = absent("connection refused")
    payout = attempt(make_payout())
    ages = {name: F(name) - 10 * bank.remembers for name in ("created_at", "updated_at", "due_at")}
    Payout.objects.filter(pk=payout.pk).update(**ages)
    bank.pay_answer = paid("ref-1")
    assert attempt(payout).status == Status.COMPLETED


def test_a_server_that_cannot_be_reached_got_nothing(http):
    http(url=f"http://127.0.0.1:{free_port()}/")
    payout = attempt(make_payout())
    assert (payout.status, payout.asked_at) == (Status.PROCESSING, None)


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b'{"reason": "No."}', b'{"status": "done"}'])
@pytest.mark.parametrize("code", [200, 202, 400, 401, 403, 404, 409, 422, 429, 500])
def test_an_answer_decides_only_if_it_says_so_plainly(http, server, code, body):
    http()
    server.answer = code, body
    payout = attempt(make_payout())
    assert (payout.status, payout.note) == (Status.PROCESSING, f"HTTP {code} without a status that we know")
    assert payout.asked_at is not None


# --- The last send of a key


@pytest.mark.parametrize(("seconds", "is_sent"), [(10, True), (-10, False)])
def test_the_last_send_is_a_lease_before_the_provider_may_forget(bank, settings, seconds, is_sent):
    bank.look_answer = absent("never got it")
    last = bank.remembers - settings.PAYOUT_LEASE
    payout = attempt(make_open(asked_ago=last - timedelta(seconds=seconds)))
    assert (bool(bank.pays), payout.status == Status.COMPLETED) == (is_sent, is_sent)


def test_after_the_last_send_absent_proves_nothing_and_a_person_has_to_go_on(bank, caplog):
    bank.look_answer = absent("never got it")
    payout = attempt(make_open(asked_ago=bank.remembers))
    assert (payout.status, payout.due_at, bank.pays) == (Status.PROCESSING, None, [])
    assert payout.note.startswith("its key may be forgotten")
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        f"waits for a person: {payout.note}"
    ]


def test_after_the_last_send_a_look_still_settles(bank):
    bank.look_answer = paid("ref-1")
    assert attempt(make_open(asked_ago=10 * bank.remembers)).status == Status.COMPLETED


def test_a_gateway_that_cannot_look_waits_for_a_person_at_once(bank):
    bank.can_look = False
    payout = attempt(make_open(asked_ago=bank.remembers))
    assert (payout.due_at, bank.pays, bank.looks) == (None, [], [])


def claim_soon_forgotten(gateway, settings, seconds):
    """Claims a payout whose last send is after so many seconds."""
    settings.PAYOUT_LEASE, settings.PAYOUT_GATEWAY_TIMEOUT = 40 * MINUTE, 60
    gateway.remembers = settings.PAYOUT_LEASE + MINUTE
    payout = make_open(asked_ago=MINUTE - timedelta(seconds=seconds))
    return Payout.objects.claim(payout.pk, by="a test")


def test_a_worker_that_sleeps_over_the_last_send_sends_nothing(bank, settings):
    bank.look_answer = absent("never got it")
    claimed = claim_soon_forgotten(bank, settings, 0.2)
    time.sleep(0.25)
    pay(claimed)
    assert (row(claimed)["due_at"], bank.pays) == (None, [])


def test_a_first_attempt_that_sleeps_over_it_has_sent_nothing(bank, settings):
    settings.PAYOUT_LEASE = 2 * MINUTE
    bank.remembers = settings.PAYOUT_LEASE + timedelta(seconds=0.1)
    claimed = Payout.objects.claim(make_payout().pk, by="a test")
    time.sleep(0.15)
    pay(claimed)
    assert (row(claimed)["asked_at"], bank.pays) == (None, [])
    assert row(claimed)["due_at"] is not None


@pytest.mark.parametrize(("frozen", "number"), [(0, 1), (0.4, 0)])
def test_a_gateway_that_sleeps_over_it_is_stopped_just_before_it_sends(http, server, settings, frozen, number):
    settings.PAYOUT_LEASE = MINUTE
    gateway = http(SLOW_HTTP, remembers=settings.PAYOUT_LEASE + timedelta(seconds=0.3))
    gateway.freeze = lambda: time.sleep(frozen)
    payout = attempt(make_payout())
    assert (len(server.bodies), payout.status == Status.COMPLETED) == (number, bool(number))


@pytest.mark.parametrize(("fields", "looks"), [({}, 0), ({"asked_at": Now()}, 1)])
def test_while_the_database_s_clock_is_set_back_a_worker_only_looks(bank, fields, looks):
    bank.look_answer = absent("never got it")
    status = Status.PROCESSING if fields else Status.NEW
    payout = make_payout(status, gateway=BANK if fields else "", updated_at=Now() + HOUR, **fields)
    process(str(attempt(payout).pk))
    assert (bank.pays, len(bank.looks)) == ([], looks)
    assert row(payout)["note"] == "the database's clock was set back, so nothing is sent"
    # What was never sent has not been asked.
    assert (row(payout)["asked_at"] is None) == (not fields)


# --- Pending, unknown, and what is kept


@pytest.mark.parametrize(("pending_for", "seconds"), [(0, 5), (4, 5), (6, 15), (19, 15), (21, 60), (9999, 60)])
def test_what_is_pending_has_a_schedule_of_its_own(bank, pending_for, seconds):
    bank.look_answer = pending("ref-1")
    since = Now() - timedelta(seconds=pending_for)
    payout = attempt(make_open(pending_since=since, attempt=9, note=""))
    assert (due_in(payout), payout.note) == (seconds, "")


def test_it_is_pending_since_the_provider_said_so_first(bank):
    bank.pay_answer = bank.look_answer = pending("ref-1")
    first = attempt(make_payout())
    assert first.pending_since == first.updated_at
    assert attempt(first).pending_since == first.pending_since


@pytest.mark.parametrize(("attempts", "shortest", "longest"), [(0, 5, 10), (2, 20, 40), (50, 300, 600)])
def test_what_is_unknown_backs_off(bank, attempts, shortest, longest):
    assert shortest <= due_in(attempt(make_open(attempt=attempts))) <= longest


@pytest.mark.parametrize(
    "answer", [unknown("does not say"), pending(), paid(), refused("No such card.")], ids=lambda answer: answer.outcome
)
def test_a_reference_that_is_once_known_stays(bank, answer):
    bank.look_answer = answer
    assert attempt(make_open(gateway_reference="ref-7")).gateway_reference == "ref-7"


def test_a_reference_is_kept_while_the_outcome_is_unknown(bank):
    bank.pay_answer = unknown("does not say", "ref-7")
    assert attempt(make_payout()).gateway_reference == "ref-7"


@pytest.mark.parametrize(
    ("answer", "repeats_paid", "commit"),
    [(paid(), True, "off"), (paid(), False, "on"), (refused("No such card."), True, "on"), (pending(), True, "on")],
    ids=lambda value: getattr(value, "outcome", value),
)
def test_only_a_payment_that_is_said_again_does_not_wait_for_the_disk(bank, answer, repeats_paid, commit):
    bank.pay_answer, bank.repeats_paid = answer, repeats_paid
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = on")
        attempt(make_payout())
        cursor.execute("SHOW synchronous_commit")
        assert cursor.fetchone() == (commit,)


# --- Returned: what was COMPLETED


def test_money_that_came_back_makes_a_completed_payout_failed(bank):
    bank.look_answer = returned("The account is closed.", "account_closed")
    before = make_hinted(processed_at=Now() - HOUR)
    process(str(before.pk))
    payout = Payout.objects.get(pk=before.pk)
    assert (payout.status, payout.due_at, payout.processed_at) == (Status.FAILED, None, before.processed_at)
    assert (payout.failure_reason, payout.failure_code) == ("Returned: The account is closed.", "account_closed")
    assert bank.pays == []


@pytest.mark.parametrize(
    "answer",
    [refused("No such card."), pending("ref-2"), absent("never got it"), waits("x")],
    ids=lambda answer: answer.outcome,
)
def test_any_other_word_about_a_completed_payout_is_an_error_and_changes_nothing(bank, caplog, answer):
    bank.look_answer = answer
    before = make_hinted()
    process(str(before.pk))
    payout = Payout.objects.get(pk=before.pk)
    for name in ("status", "processed_at", "gateway_reference", "failure_reason", "pending_since"):
        assert getattr(payout, name) == getattr(before, name)
    assert (payout.due_at, bank.pays) == (None, [])
    assert f"the provider says {answer.outcome} of a payout that is COMPLETED" in caplog.text


def test_a_completed_payout_of_which_the_provider_says_nothing_is_asked_about_again(bank):
    before = make_hinted()
    process(str(before.pk))
    payout = Payout.objects.get(pk=before.pk)
    assert (payout.status, payout.taken_at, bank.pays) == (Status.COMPLETED, None, [])
    assert payout.due_at > payout.updated_at


def test_a_completed_payout_is_never_sent_by_a_gateway_that_cannot_look(bank):
    bank.can_look = False
    before = make_hinted()
    process(str(before.pk))
    assert (row(before)["status"], row(before)["due_at"], bank.pays) == (Status.COMPLETED, None, [])


# --- A retry, and what a person has sent again


def test_a_retry_forgets_the_submission_before(api):
    payout = make_payout(Status.FAILED, gateway_reference="ref-1", pending_since=Now(), failure_code="x")
    api.patch(url_of(payout), {"status": "NEW"})
    submission = row(payout)
    assert [submission[name] for name in ("asked_at", "pending_since")] == [None, None]
    assert [submission[name] for name in ("gateway", "gateway_reference", "failure_code")] == ["", "", ""]


def test_what_a_person_has_sent_again_is_sent_under_the_same_key(bank):
    before = make_open(asked_ago=10 * bank.remembers, due_at=None)
    assert Payout.objects.send_again(before.pk, {"note": "Nothing is booked."}, by="a test")
    payout = attempt(before)
    assert (payout.status, bank.pays, bank.looks) == (Status.COMPLETED, [before.gateway_key], [])


def test_only_what_waits_for_a_person_can_be_sent_again(bank):
    for payout in (make_open(), make_open(pending_since=Now()), make_hinted(), make_payout()):
        before = row(payout)
        assert not Payout.objects.send_again(payout.pk, {"note": "Nothing is booked."}, by="a test")
        assert row(payout) == before


# --- Routes


def test_each_currency_goes_its_way(use_routes):
    banks = use_routes(EUR=BANK, others=OTHER_BANK)
    payouts = [attempt(make_payout(currency=currency)) for currency in ("EUR", "RUB", "USD")]
    assert [payout.gateway for payout in payouts] == [BANK, OTHER_BANK, OTHER_BANK]
    assert [len(banks[name].pays) for name in (BANK, OTHER_BANK)] == [1, 2]


def test_a_route_is_chosen_once_for_each_submission(api, use_routes):
    banks = use_routes(others=BANK)
    banks[BANK].pay_answer = unknown("does not say")
    payout = attempt(make_payout())
    banks = use_routes(RUB=OTHER_BANK, others=BANK)
    banks[BANK].look_answer = refused("No such card.")
    assert attempt(payout).gateway == BANK
    api.patch(url_of(payout), {"status": "NEW"})
    assert attempt(payout).gateway == OTHER_BANK


def test_a_payout_whose_route_was_removed_waits_for_it(use_routes, caplog):
    use_routes(others=OTHER_BANK)
    payout = attempt(make_open())
    assert (payout.status, payout.note) == (Status.PROCESSING, f"PAYOUT_ROUTES has no {BANK}")
    assert payout.due_at > payout.updated_at
    assert f"no route leads to {BANK}" in caplog.text
    use_routes(others=BANK)[BANK].look_answer = paid()
    assert attempt(payout).status == Status.COMPLETED


def test_a_completed_payout_whose_route_was_removed_stays_completed(use_routes):
    use_routes(others=OTHER_BANK)
    payout = attempt(make_hinted())
    assert (payout.status, payout.note) == (Status.COMPLETED, f"PAYOUT_ROUTES has no {BANK}")


def test_a_currency_without_a_route_waits_for_one(use_routes, caplog):
    use_routes(RUB=BANK)
    payout = attempt(make_payout(currency="EUR"))
    assert (payout.status, payout.gateway, payout.asked_at) == (Status.PROCESSING, "", None)
    assert payout.note == "PAYOUT_ROUTES has no EUR"
    assert "no route leads to EUR" in caplog.text
    use_routes(others=OTHER_BANK)
    payout = attempt(payout)
    assert (payout.status, payout.gateway) == (Status.COMPLETED, OTHER_BANK)


@pytest.mark.parametrize(
    "name",
    ["nonsense", "no.such.Class", "payouts.gateways.http", "tests.banks.Nobody", "tests.banks.HalfABank", "http"],
)
def test_a_route_that_cannot_be_used_is_refused_in_one_line(use_routes, settings, name):
    settings.PAYOUT_HTTP_GATEWAYS = {}
    with pytest.raises(ImproperlyConfigured, match=r"^The setting PAYOUT_ROUTES cannot be used: [^\n]*$") as refusal:
        use_routes(RUB="sandbox", others=name)
    assert name in str(refusal.value)


def test_a_slow_provider_gets_no_more_than_its_number_of_calls(settings, use_routes):
    settings.PAYOUT_ROUTE_CALLS = 1
    banks = use_routes(RUB=BANK, others=OTHER_BANK)
    with gateways.routes()[BANK].slot():
        payout = attempt(make_payout())
        assert (payout.asked_at, payout.note) == (None, "enough calls are asking this provider already")
        assert attempt(make_payout(currency="EUR")).status == Status.COMPLETED
    assert attempt(payout).status == Status.COMPLETED
    assert len(banks[BANK].pays) == 1


def test_what_found_no_call_is_tried_again_soon_however_often(settings, use_routes):
    settings.PAYOUT_ROUTE_CALLS = 1
    use_routes(RUB=BANK)
    payout = make_payout(attempt=9)
    with gateways.routes()[BANK].slot():
        payout = attempt(payout)
    assert payout.due_at - payout.updated_at <= settings.PAYOUT_RECOVERY_INTERVAL


def test_a_retired_route_is_taken_by_no_payout_and_still_looks_for_returned_money(settings, use_routes):
    banks = use_routes(RUB=BANK, others=OTHER_BANK)
    payout = attempt(make_payout())
    settings.PAYOUT_RETIRED_ROUTES = [BANK]
    banks = use_routes(others=OTHER_BANK)
    assert attempt(make_payout()).gateway == OTHER_BANK
    banks[BANK].look_answer = returned("the account is closed")
    Payout.objects.filter(pk=payout.pk).update(due_at=Now())
    assert attempt(payout).status == Status.FAILED


def test_a_provider_that_is_away_is_asked_by_one_call_until_it_answers(bank):
    bank.pay_answer = absent("connection refused")
    payouts = [attempt(make_payout()) for _ in range(SILENT_CALLS)]
    bank.pay_answer = paid()
    with gateways.routes()[BANK].slot():
        assert attempt(payouts[0]).status == Status.PROCESSING
    assert attempt(payouts[0]).status == Status.COMPLETED
    with gateways.routes()[BANK].slot():
        assert attempt(payouts[1]).status == Status.COMPLETED


def test_a_gateway_that_breaks_leaves_the_outcome_unknown(bank, caplog):
    bank.pay_answer = None
    payout = attempt(make_payout())
    assert (payout.status, payout.note) == (Status.PROCESSING, "AttributeError")
    assert payout.asked_at is not None
    assert "the gateway call broke" in caplog.text
