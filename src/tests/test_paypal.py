"""PayPal: what each of its answers makes of the payout, and whether all that is said keeps to its specification."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import cache
from pathlib import Path
from uuid import uuid4

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from payouts import gateways
from payouts.machine import Status
from payouts.models import Payout
from runtime.clock import clock
from tests.gateway import paypal
from tests.gateway.ledger import INVALID_RECEIVER, REFUSED_RECEIVER, Reply
from tests.make import make_payout
from tests.simulators import ask, notify, payer, simulator

pytestmark = pytest.mark.django_db
SECRET = "TheSecretOfTheApp"
EMAIL = "person@example.com"
pay = payer("USD", type="paypal", email=EMAIL)
PATH = "/v1/payments/payouts"
LOST = ("500", "drop", "cut", "half", "page", "empty", "proxy", "401", "429", "long", "other key", "other amount")
TOKEN = "POST /v1/oauth2/token"
SPECIFICATION = os.environ.get("PAYPAL_SPEC", "")


@cache
def validator(name):
    components = json.loads(Path(SPECIFICATION).read_text())["components"]
    schema = {"$ref": f"#/components/schemas/{name}", "components": components}
    return Draft202012Validator(schema, format_checker=FormatChecker())


@pytest.fixture
def provider(settings):
    """Each request is as the specification says, if it is there."""
    with simulator(settings, "paypal", "USD", SECRET) as server:
        yield server
        for exchange in exchanges(server) if SPECIFICATION else ():
            if exchange.method == "POST":
                validator("create_payout_request").validate(json.loads(exchange.body))


@pytest.fixture
def validated(provider):
    """Each answer is, too."""
    yield provider
    assert exchanges(provider)
    for exchange in exchanges(provider) if SPECIFICATION else ():
        name = {201: "payout", 200: "payout_batch"}.get(exchange.code, "error")
        validator(name).validate(exchange.answer)


def exchanges(provider):
    """What is not about tokens: of those the specification says nothing."""
    return [exchange for exchange in provider.exchanges if exchange.path.startswith(PATH)]


@pytest.mark.skipif(not SPECIFICATION, reason="PAYPAL_SPEC does not name the specification that PayPal publishes")
@pytest.mark.parametrize("wrong", [{}, {"sender_batch_header": {}, "items": []}, {"items": [{"receiver": "x"}]}])
def test_the_specification_does_not_take_anything(wrong):
    assert not validator("create_payout_request").is_valid(wrong)


@pytest.mark.parametrize(
    ("details", "sent"),
    [
        ({"email": EMAIL}, {"recipient_type": "EMAIL", "receiver": EMAIL}),
        ({"phone": "+14155550100"}, {"recipient_type": "PHONE", "receiver": "+14155550100"}),
        ({"paypal_id": "G83JXTJ5EHCQ2"}, {"recipient_type": "PAYPAL_ID", "receiver": "G83JXTJ5EHCQ2"}),
    ],
)
def test_each_recipient_is_paid_once_it_was_looked_at(validated, details, sent):
    payout = pay(recipient_details={"type": "paypal", **details}, comment="Prize\nof November", amount="7.50")
    assert (payout.status, bool(payout.pending_since)) == (Status.PROCESSING, True)
    key = str(payout.gateway_key)
    item = {**sent, "amount": {"value": "7.50", "currency": "USD"}, "sender_item_id": key, "note": "Prize of November"}
    assert json.loads(validated.exchanges[1].body) == {"sender_batch_header": {"sender_batch_id": key}, "items": [item]}
    assert ask(payout).status == Status.COMPLETED
    assert validated.paths() == [TOKEN, f"POST {PATH}", f"GET {PATH}/{payout.gateway_reference}"]


@pytest.mark.parametrize("word", ["", "UNCLAIMED", "ONHOLD"])
def test_a_pending_item_is_looked_at_again(validated, word):
    validated.set(manner="pending", pending_seconds=60, words={"pending": word} if word else {})
    payout = ask(ask(pay()))
    assert (payout.status, payout.failure_reason) == (Status.PROCESSING, "")
    validated.ledger.entries[0].settled_at = 0
    assert ask(payout).status == Status.COMPLETED


def test_a_word_that_is_not_known_settles_nothing(provider):
    provider.set(manner="pending", pending_seconds=60, words={"pending": "SOMETHING_NEW"})
    payout = ask(pay())
    assert (payout.status, payout.note) == (Status.PROCESSING, "HTTP 200")


@pytest.mark.parametrize(
    ("denies", "code", "reason"),
    [(False, "RECEIVER_UNCONFIRMED", "The receiver cannot take it."), (True, "DENIED", "PayPal: DENIED.")],
)
def test_what_is_refused_fails_with_its_reason(validated, denies, code, reason):
    validated.set(reason="RECEIVER_UNCONFIRMED", denies=denies)
    payout = ask(pay(recipient_details={"type": "paypal", "email": REFUSED_RECEIVER}))
    assert (payout.status, payout.failure_code, payout.failure_reason) == (Status.FAILED, code, reason)


def test_a_blocked_item_is_refused(validated):
    validated.set(words={"refused": "BLOCKED"}, reason="RISK_DECLINE")
    payout = ask(pay(recipient_details={"type": "paypal", "email": REFUSED_RECEIVER}))
    assert (payout.status, payout.failure_code) == (Status.FAILED, "RISK_DECLINE")


@pytest.mark.parametrize("word", ["RETURNED", "REFUNDED", "REVERSED"])
def test_money_comes_back_by_each_word(validated, word):
    validated.set(words={"returned": word})
    payout = ask(pay())
    validated.ledger.entries[0].returned_at = 0
    Payout.objects.filter(pk=payout.pk).update(due_at=payout.created_at)
    payout = ask(payout)
    assert (payout.status, payout.failure_code) == (Status.FAILED, word)


def test_money_that_nobody_claims_comes_back(validated):
    validated.set(manner="pending", pending_seconds=60, words={"pending": "UNCLAIMED"})
    payout = ask(pay())
    validated.ledger.entries[0].settled_at = validated.ledger.entries[0].returned_at = 0
    payout = ask(payout)
    assert (payout.status, payout.failure_reason) == (Status.FAILED, "Returned: PayPal: RETURNED.")
    assert payout.failure_code == "RETURNED"


@pytest.mark.django_db(transaction=True)
def test_a_notification_tells_of_money_that_came_back(validated, client):
    payout = ask(pay())
    [entry] = validated.ledger.entries
    entry.returned_at = 0
    body = paypal.notification(entry, validated.behaviour)
    assert body["event_type"] == "PAYMENT.PAYOUTS-ITEM.RETURNED"
    assert notify(client, "paypal", body) == 200
    payout = ask(payout)
    assert (payout.status, payout.failure_code) == (Status.FAILED, "RETURNED")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "resource",
    [
        {"payout_item": {"sender_item_id": "KEY"}},
        {"sender_batch_id": "KEY"},
        {"batch_header": {"sender_batch_header": {"sender_batch_id": "KEY"}}},
    ],
)
def test_a_notification_of_an_item_or_of_a_batch_has_it_looked_at(provider, client, resource):
    payout = pay()
    body = json.loads(json.dumps({"resource": resource}).replace("KEY", str(payout.gateway_key)))
    assert notify(client, "paypal", body) == 200
    due = Payout.objects.get(pk=payout.pk)
    assert due.due_at <= due.updated_at < payout.due_at


@pytest.mark.parametrize("body", [{}, [], {"resource": None}, {"resource": {"sender_batch_id": 5}}, "x"])
def test_a_notification_that_names_nothing_changes_nothing(provider, client, body):
    payout = pay()
    assert notify(client, "paypal", body) == (200 if isinstance(body, dict) else 400)
    assert notify(client, "paypal", {"resource": {"sender_batch_id": str(uuid4())}}) == 200
    assert Payout.objects.get(pk=payout.pk).due_at == payout.due_at


def test_a_repeated_batch_is_followed_by_the_link_to_the_first_one(validated):
    validated.set(moods=["drop"])
    payout = pay()
    assert (payout.status, payout.gateway_reference) == (Status.PROCESSING, "")
    validated.set(moods=["ok"])
    payout = ask(payout)
    [entry] = validated.ledger.entries
    assert (payout.status, payout.gateway_reference, entry.posts) == (Status.COMPLETED, entry.reference, 2)


@pytest.mark.parametrize("mood", LOST)
def test_a_lost_answer_is_found_by_the_same_batch(provider, mood):
    provider.set(moods=[mood])
    payout = pay()
    assert (payout.status, payout.gateway_reference) == (Status.PROCESSING, "")
    provider.set(moods=["ok"])
    assert ask(payout).status == Status.COMPLETED
    # After a 401 it was sent again at once, with another token.
    assert [entry.posts for entry in provider.ledger.entries] == [3 if mood == "401" else 2]


def test_a_lost_look_is_repeated(provider):
    payout = pay()
    for mood in LOST:
        provider.set(moods=[mood])
        payout = ask(payout)
        assert payout.status == Status.PROCESSING, mood
    provider.set(moods=["ok"])
    assert ask(payout).status == Status.COMPLETED
    assert [entry.posts for entry in provider.ledger.entries] == [1]


@pytest.mark.parametrize("mood", paypal.ERRORS)
def test_an_error_that_is_not_about_the_payout_fails_nothing(validated, mood):
    validated.set(moods=[mood])
    payout = pay()
    # After a 5xx the same batch may be sent again; but it may have been taken. And a proxy may say 401 after the fact.
    assert (payout.status, payout.asked_at is None) == (Status.PROCESSING, mood not in ("internal", "credentials"))
    validated.set(moods=["ok"])
    assert ask(ask(payout)).status == Status.COMPLETED
    assert [entry.posts for entry in validated.ledger.entries] == [1]


def test_a_request_that_it_does_not_take_fails_after_it_was_asked_twice(validated):
    payout = pay(recipient_details={"type": "paypal", "email": INVALID_RECEIVER})
    assert (payout.status, payout.failure_code) == (Status.FAILED, "VALIDATION_ERROR")
    assert payout.failure_reason == "Invalid request - see details items[0].receiver: Value is invalid."
    posts = [exchange.connection for exchange in validated.exchanges if exchange.path == PATH]
    assert len({*posts}) == len(posts) == 2


def test_an_error_that_is_meant_for_another_payout_fails_nothing(provider):
    provider.slips = [paypal.invalid("items[0].receiver")]
    payout = pay()
    assert (payout.status, [entry.posts for entry in provider.ledger.entries]) == (Status.COMPLETED, [2])


def test_a_link_to_the_batch_of_another_payout_settles_nothing(provider):
    other = pay(amount="7.00")
    provider.slips = [paypal.say_again(provider.ledger.by_key[str(other.gateway_key)], {}, provider.behaviour)]
    payout = pay()
    assert (payout.status, payout.gateway_reference) == (Status.PROCESSING, "")
    assert payout.note == "the answer is about another payment"


def test_a_token_that_dies_early_is_replaced(provider):
    pay()
    provider.ledger.tokens.clear()
    payout = pay()
    assert payout.gateway_reference
    provider.ledger.tokens.clear()
    assert ask(payout).status == Status.COMPLETED
    assert provider.paths().count(TOKEN) == 3
    assert [entry.posts for entry in provider.ledger.entries] == [1, 1]


def test_a_token_that_is_refused_after_the_fact_fails_nothing(provider):
    provider.slips = [paypal.error(401, "AUTHENTICATION_FAILURE", "Authentication failed.")] * 2
    payout = pay()
    # A proxy may have said so, after the payment was taken.
    assert (payout.status, bool(payout.asked_at)) == (Status.PROCESSING, True)
    assert ask(payout).status == Status.COMPLETED
    assert [entry.posts for entry in provider.ledger.entries] == [3]


def test_a_token_is_renewed_before_it_expires(provider, monkeypatch):
    monkeypatch.setattr(paypal, "TOKEN_SECONDS", 0)
    provider.set(token_seconds=60)
    pay()
    pay()
    assert provider.paths().count(TOKEN) == 2


@pytest.mark.parametrize("token", ["100500:another", None])
def test_without_a_token_nothing_is_sent(provider, token):
    if token:
        provider.set(token=token)
    else:
        gateways.routes()["paypal"].gateway.client.token.url = "http://127.0.0.1:1/v1/oauth2/token"
    payout = pay()
    assert (payout.status, payout.asked_at) == (Status.PROCESSING, None)
    assert payout.note.startswith("no access token: ")
    assert PATH not in "".join(provider.paths())


def test_whoever_gets_no_token_in_time_sends_nothing(provider, settings):
    """Another thread asks for it, and PayPal does not answer."""
    settings.PAYOUT_GATEWAY_TIMEOUT = 0.2
    with gateways.routes()["paypal"].gateway.client.token.lock:
        payout = pay()
    assert (payout.status, payout.asked_at, payout.note) == (
        Status.PROCESSING,
        None,
        "no access token: nobody got one in time",
    )
    assert not provider.exchanges


def test_a_completed_payout_whose_look_gets_no_token_is_asked_about_again(provider):
    payout = ask(pay())
    provider.ledger.tokens.clear()
    provider.set(token="100500:another")
    gateways.routes()["paypal"].gateway.client.token.renew_at = 0
    Payout.objects.filter(pk=payout.pk).update(due_at=payout.created_at)
    payout = ask(payout)
    assert payout.status == Status.COMPLETED
    assert payout.due_at


@pytest.mark.django_db(transaction=True)
def test_many_threads_ask_for_one_token(provider):
    payouts = [make_payout(currency="USD", recipient_details={"type": "paypal", "email": EMAIL}) for _ in range(8)]
    gateway = gateways.routes()["paypal"].gateway
    for payout in payouts:
        payout.deadline = payout.send_before = clock() + 10
        payout.was_asked_before = False
    with ThreadPoolExecutor(8) as threads:
        answers = [*threads.map(gateway.pay, payouts)]
    assert {answer.outcome for answer in answers} == {"pending"}
    assert provider.paths().count(TOKEN) == 1


def test_a_batch_that_may_be_forgotten_is_never_sent_again(provider):
    provider.set(moods=["drop"], forget_seconds=0.001)
    payout = pay()
    provider.set(moods=["ok"])
    payout = ask(payout, asked_at=payout.asked_at - timedelta(days=30))
    assert (payout.status, payout.due_at) == (Status.PROCESSING, None)
    assert len(provider.ledger.entries) == 1


def test_a_batch_that_it_does_not_know_says_nothing(provider):
    assert ask(pay(), gateway_reference="x/../y").note == "HTTP 404 RESOURCE_NOT_FOUND"
    assert provider.paths()[-1] == f"GET {PATH}/x%2F..%2Fy"


@pytest.mark.parametrize(
    "content", [[], {"items": "x"}, {"items": [None, 5]}, {"links": "x", "name": 5}, {"batch_header": 5}]
)
@pytest.mark.parametrize("code", [201, 400])
def test_nonsense_settles_nothing(provider, code, content):
    provider.slips = [Reply(code, content)] * 2
    assert pay().status == Status.PROCESSING


def test_nothing_is_logged_of_secrets(provider, caplog):
    caplog.set_level(0)
    for mood in ("ok", "drop", "page", *paypal.ERRORS, "other key"):
        provider.set(moods=[mood])
        ask(pay())
    assert caplog.records
    for secret in (SECRET, *provider.ledger.tokens):
        assert secret not in caplog.text
