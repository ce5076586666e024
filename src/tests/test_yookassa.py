"""YooKassa: what each of its answers makes of the payout, and whether its own library takes what we send."""

import json
import socket
from datetime import timedelta
from uuid import uuid4

import pytest
from yookassa.domain.notification import WebhookNotification
from yookassa.domain.request import PayoutRequest
from yookassa.domain.response import PayoutResponse

from payouts.machine import Status
from payouts.models import Payout
from tests.gateway import yookassa
from tests.gateway.ledger import INVALID_NUMBER, REFUSED_NUMBER
from tests.make import make_payout
from tests.simulators import ask, notify, payer, simulator

pytestmark = pytest.mark.django_db
SECRET = "live_TheSecretKeyOfTheTests"
CARD = {"type": "card", "number": "5555555555554477"}
pay = payer("RUB", **CARD)
LOST = ("500", "drop", "cut", "half", "page", "empty", "proxy", "401", "429", "long", "other key", "other amount")


@pytest.fixture
def provider(settings):
    with simulator(settings, "yookassa", "RUB", SECRET) as server:
        yield server
        for exchange in server.exchanges:
            check(exchange)


def check(exchange):
    """YooKassa's own library reads the request and the answer, and loses nothing of them."""
    if exchange.method == "POST":
        body = json.loads(exchange.body)
        assert dict(PayoutRequest(body)) == body
        assert len(exchange.headers["Idempotence-Key"]) <= 64
    if isinstance(exchange.answer, dict) and exchange.answer.get("status") in ("pending", "succeeded", "canceled"):
        answer = dict(PayoutResponse(exchange.answer))
        assert answer.items() >= {name: exchange.answer[name] for name in ("id", "status", "amount")}.items()


@pytest.mark.parametrize(
    ("details", "sent"),
    [
        (CARD, {"payout_destination_data": {"type": "bank_card", "card": {"number": CARD["number"]}}}),
        ({"type": "token", "token": "pt-1"}, {"payout_token": "pt-1"}),
        (
            {"type": "sbp", "phone": "+79001234567", "bank_id": "100000000111"},
            {"payout_destination_data": {"type": "sbp", "phone": "79001234567", "bank_id": "100000000111"}},
        ),
        (
            {"type": "yoomoney", "account": "41001614575714"},
            {"payout_destination_data": {"type": "yoo_money", "account_number": "41001614575714"}},
        ),
    ],
)
def test_each_recipient_is_paid(provider, details, sent):
    payout = pay(recipient_details=details, comment="Salary\nfor  November", amount="7.50")
    [exchange] = provider.exchanges
    assert json.loads(exchange.body) == {
        "amount": {"value": "7.50", "currency": "RUB"},
        "description": "Salary for November",
        "metadata": {"key": str(payout.gateway_key)},
        **sent,
    }
    assert (payout.status, payout.gateway_reference) == (Status.COMPLETED, exchange.answer["id"])


def test_a_long_comment_is_cut(provider):
    pay(comment="x" * 1000)
    assert json.loads(provider.exchanges[0].body)["description"] == "x" * 128


def test_a_pending_payout_is_looked_at_by_its_reference(provider):
    provider.set(manner="pending", pending_seconds=60)
    payout = ask(pay())
    assert (payout.status, bool(payout.pending_since)) == (Status.PROCESSING, True)
    provider.ledger.entries[0].settled_at = 0
    assert ask(payout).status == Status.COMPLETED
    assert provider.paths() == ["POST /v3/payouts", *[f"GET /v3/payouts/{payout.gateway_reference}"] * 2]


@pytest.mark.django_db(transaction=True)
def test_a_notification_has_it_looked_at(provider, client):
    provider.set(manner="pending", pending_seconds=60)
    payout = pay()
    [entry] = provider.ledger.entries
    entry.settled_at = 0
    body = yookassa.notification(entry, provider.behaviour)
    assert WebhookNotification(body).object.metadata == {"key": str(payout.gateway_key)}
    assert notify(client, "yookassa", body) == 200
    assert ask_again(payout).status == Status.COMPLETED


def ask_again(payout):
    """Lets a worker take it if it is due by itself."""
    due = Payout.objects.get(pk=payout.pk)
    assert due.due_at <= due.updated_at
    return ask(payout)


@pytest.mark.parametrize("body", [{}, [], {"object": None}, {"object": {"metadata": {"key": "x"}}}, "x"])
def test_a_notification_that_names_nothing_changes_nothing(provider, client, body):
    provider.set(manner="pending", pending_seconds=60)
    payout = pay()
    assert notify(client, "yookassa", body) == (200 if isinstance(body, dict) else 400)
    assert notify(client, "yookassa", {"object": {"metadata": {"key": str(uuid4())}, "status": "succeeded"}}) == 200
    assert Payout.objects.get(pk=payout.pk).due_at == payout.due_at


@pytest.mark.parametrize("reason", ["insufficient_funds", "fraud_suspected", "general_decline"])
@pytest.mark.parametrize("pending_seconds", [0, 60])
def test_a_canceled_payout_fails_with_its_reason(provider, reason, pending_seconds):
    provider.set(reason=reason, pending_seconds=pending_seconds)
    payout = pay(recipient_details={**CARD, "number": REFUSED_NUMBER})
    provider.ledger.entries[0].settled_at = 0
    payout = ask(payout) if pending_seconds else payout
    assert (payout.status, payout.failure_code) == (Status.FAILED, reason)
    assert payout.failure_reason == f"YooKassa: {reason}."


@pytest.mark.parametrize("mood", LOST)
def test_a_lost_answer_is_found_by_the_same_key(provider, mood):
    provider.set(moods=[mood])
    payout = pay()
    assert (payout.status, payout.gateway_reference) == (Status.PROCESSING, "")
    provider.set(moods=["ok"])
    assert ask(payout).status == Status.COMPLETED
    assert [entry.posts for entry in provider.ledger.entries] == [2]


def test_a_lost_look_is_repeated(provider):
    provider.set(manner="pending", pending_seconds=60)
    payout = pay()
    provider.ledger.entries[0].settled_at = 0
    for mood in LOST:
        provider.set(moods=[mood], manner="current")
        payout = ask(payout)
        assert payout.status == Status.PROCESSING, mood
    provider.set(moods=["ok"])
    assert ask(payout).status == Status.COMPLETED
    assert [entry.posts for entry in provider.ledger.entries] == [1]


@pytest.mark.parametrize("mood", yookassa.ERRORS)
def test_an_error_that_is_not_about_the_payout_fails_nothing(provider, mood):
    provider.set(moods=[mood])
    payout = pay()
    # Only of a server that is broken nobody knows whether it has executed it.
    assert (payout.status, payout.asked_at is None) == (Status.PROCESSING, mood != "internal")
    provider.set(moods=["ok"])
    assert ask(payout).status == Status.COMPLETED
    assert [entry.posts for entry in provider.ledger.entries] == [1]


def test_a_wrong_secret_fails_nothing(provider):
    provider.set(token="100500:another")
    payout = pay()
    assert (payout.status, payout.asked_at, payout.note) == (
        Status.PROCESSING,
        None,
        "invalid_credentials: Basic authentication failed.",
    )
    provider.set(token=f"100500:{SECRET}")
    assert ask(payout).status == Status.COMPLETED


def test_a_request_that_it_does_not_take_fails_after_it_was_asked_twice(provider):
    payout = pay(recipient_details={**CARD, "number": INVALID_NUMBER})
    assert (payout.status, payout.failure_code) == (Status.FAILED, "invalid_request")
    assert payout.failure_reason == "No such card."
    assert len({exchange.connection for exchange in provider.exchanges}) == 2


def test_an_error_that_is_meant_for_another_payout_fails_nothing(provider):
    provider.slips = [yookassa.error(400, "invalid_request", "No such card.", parameter="payout_token")]
    assert pay().status == Status.COMPLETED
    assert [entry.posts for entry in provider.ledger.entries] == [2]


@pytest.mark.parametrize("is_away", [False, True])
def test_what_follows_an_error_that_was_not_believed_does_not_undo_the_payment(provider, is_away):
    """The first request has been executed, and its answer went to somebody else."""

    def slip():
        if is_away:
            provider.socket.shutdown(socket.SHUT_RDWR)
        return yookassa.error(400, "invalid_request", "No such card.", parameter="amount")

    provider.slips = [yookassa.ERRORS["too many"], slip]
    payout = pay()
    assert (payout.status, payout.note.startswith("curl error")) == (Status.PROCESSING, is_away)
    assert payout.asked_at
    assert len(provider.ledger.entries) == 1


def test_what_libcurl_sends_again_may_have_been_executed(provider):
    """The kept connection is closed without an answer. libcurl itself sends the request once more, on another one."""
    pay()
    provider.set(moods=["drop"])
    provider.slips = [yookassa.ERRORS["too many"], lambda: provider.set(moods=["ok"])]
    payout = pay()
    assert [entry.posts for entry in provider.ledger.entries] == [1, 2]
    assert (payout.status, payout.note) == (Status.PROCESSING, "too_many_requests: Too many requests.")
    assert payout.asked_at


def test_a_token_that_was_used_up_by_a_lost_payment_is_no_refusal(provider):
    details = {"type": "token", "token": "pt-1"}
    provider.set(moods=["drop"])
    payout = pay(recipient_details=details)
    provider.set(moods=["ok"])
    provider.slips = [yookassa.error(400, "invalid_request", "Used.", parameter="payout_token")] * 2
    assert ask(payout).status == Status.PROCESSING


def test_a_key_that_it_has_with_another_amount_is_no_refusal(provider):
    """A failover took back a correction of the amount after it was paid."""
    provider.set(moods=["drop"])
    payout = pay()
    provider.set(moods=["ok"])
    payout = ask(payout, amount="7.00", asked_at=None)
    assert (payout.status, payout.note) == (Status.PROCESSING, "HTTP 400 invalid_request")
    assert len(provider.ledger.entries) == 1


def test_a_key_that_may_be_forgotten_is_never_sent_again(provider):
    provider.set(moods=["drop"], forget_seconds=0.001)
    payout = pay()
    provider.set(moods=["ok"])
    payout = ask(payout, asked_at=payout.asked_at - timedelta(hours=24))
    assert (payout.status, payout.due_at) == (Status.PROCESSING, None)
    assert len(provider.ledger.entries) == 1


def test_a_reference_that_it_does_not_know_says_nothing(provider):
    provider.set(manner="pending", pending_seconds=60)
    payout = pay()
    assert ask(payout, gateway_reference="po/../../me?x").note == "HTTP 404 not_found"
    assert provider.paths()[-1] == "GET /v3/payouts/po%2F..%2F..%2Fme%3Fx"


@pytest.mark.parametrize("was_asked", [False, True])
@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"currency": "USD"}, "unpayable_currency"),
        ({"recipient_details": {"iban": "x"}}, "unpayable_recipient_details"),
    ],
)
def test_what_it_cannot_pay_is_refused_unless_it_was_sent_before(provider, settings, fields, code, was_asked):
    """The route was another one when it was accepted."""
    settings.PAYOUT_ROUTES = {"*": "yookassa"}
    payout = make_payout(**{"currency": "RUB", "recipient_details": CARD, **fields})
    if was_asked:
        earlier = payout.created_at - timedelta(minutes=1)
        Payout.objects.filter(pk=payout.pk).update(status="PROCESSING", asked_at=earlier, gateway="yookassa")
    payout = ask(payout)
    assert payout.status == (Status.PROCESSING if was_asked else Status.FAILED)
    assert payout.failure_code == ("" if was_asked else code)
    assert not provider.exchanges


def test_nothing_is_logged_of_secrets_and_cards(provider, caplog):
    caplog.set_level(0)
    for mood in ("ok", "drop", "page", *yookassa.ERRORS, "other key"):
        provider.set(moods=[mood])
        payout = pay()
        assert CARD["number"] not in f"{payout.note}{payout.failure_reason}"
    provider.slips = [yookassa.error(400, "invalid_request", f"Card {CARD['number']}.", parameter="x")] * 2
    assert pay().failure_reason == "Card **** 4477."
    assert caplog.records
    for secret in (CARD["number"], SECRET):
        assert secret not in caplog.text
