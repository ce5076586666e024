"""Whom a provider cannot pay is a 400 at once, in the API and in the back office."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from payouts import gateways
from payouts.gateways import TAKES
from payouts.machine import Status
from payouts.models import Payout
from payouts.recipients import TYPES
from tests.back_office import edit, post_dialog
from tests.local import ROOT
from tests.make import REQUEST, URL, make_payout, reload, short_id, url_of

pytestmark = pytest.mark.django_db

CARD = {"type": "card", "number": "5555555555554477"}
SBP = {"type": "sbp", "phone": "79001234567", "bank_id": "100000000111"}
YOOMONEY = {"type": "yoomoney", "account": "41001614575714"}
PAYPAL = {"type": "paypal", "email": "person@example.com"}
NUMBER = "number: 16 to 19 digits without spaces, the last of which fits the others."
ONE = "email, phone, paypal_id: exactly one of these is needed."


@pytest.fixture(autouse=True)
def routes(settings):
    settings.PAYOUT_ROUTES = {"RUB": "yookassa.north", "*": "paypal"}
    options = {"url": "http://127.0.0.1:1", "user": "u", "secret": "s"}
    settings.PAYOUT_PROVIDERS = {"yookassa.north": options, "paypal": options}


def post(api, currency, details, **headers):
    return api.post(URL, {**REQUEST, "currency": currency, "recipient_details": details}, headers=headers)


@pytest.mark.parametrize(
    ("currency", "details"),
    [
        ("RUB", CARD),
        ("RUB", {"type": "token", "token": "pt-26de8d7c-000f-5000-9000-1e1e3d1f0a1b"}),
        ("RUB", SBP),
        ("RUB", {**SBP, "phone": "+79001234567"}),
        ("RUB", YOOMONEY),
        ("USD", PAYPAL),
        ("EUR", {"type": "paypal", "phone": "+491711234567"}),
        ("EUR", {"type": "paypal", "paypal_id": "G83JXTJ5EHCQ2"}),
        ("USD", {"type": "paypal", "email": "o'neil+tag@mail.example.co.uk"}),
    ],
    ids=short_id,
)
def test_each_recipient_is_accepted(api, currency, details):
    answer = post(api, currency, details)
    assert (answer.status_code, answer.json().get("recipient_details")) == (201, details)


@pytest.mark.parametrize(
    ("currency", "details", "errors"),
    [
        ("RUB", {"number": "1"}, ["type: must be one of card, token, sbp, yoomoney."]),
        ("RUB", PAYPAL, ["type: must be one of card, token, sbp, yoomoney."]),
        ("RUB", {"type": ["card"]}, ["type: must be one of card, token, sbp, yoomoney."]),
        ("RUB", {**CARD, "number": "5555555555554478"}, [NUMBER]),
        ("RUB", {**CARD, "number": "5555 5555 5555 4477"}, [NUMBER]),
        ("RUB", {**CARD, "number": 5555555555554477}, [NUMBER]),
        ("RUB", {**CARD, "number": "٥٥٥٥٥٥٥٥٥٥٥٥٤٤٧٧"}, [NUMBER]),
        ("RUB", {**CARD, "number": "5555555555554477\n"}, [NUMBER]),
        ("RUB", {"type": "card", "numbr": "1"}, ["numbr: there is no such field.", "number: this field is needed."]),
        ("RUB", {**CARD, "holder": "X"}, ["holder: there is no such field."]),
        ("RUB", {"type": "token", "token": ""}, ["token: 1 to 255 characters without spaces."]),
        ("RUB", {"type": "sbp", "phone": "79001234567"}, ["bank_id: this field is needed."]),
        (
            "RUB",
            {**SBP, "phone": "9001234567", "bank_id": "1"},
            [
                "phone: a Russian number with all of its 11 digits, such as 79001234567.",
                "bank_id: the 12 characters of the bank's id in the SBP.",
            ],
        ),
        ("RUB", {**YOOMONEY, "account": "1" * 34}, ["account: 11 to 33 digits."]),
        ("USD", {"type": "paypal"}, [ONE]),
        ("USD", {**PAYPAL, "phone": "+14155550100"}, [ONE]),
        ("USD", {**PAYPAL, "email": "a@b"}, ["email: an address of at most 127 characters."]),
        ("USD", {**PAYPAL, "email": f"{'a' * 120}@example.com"}, ["email: an address of at most 127 characters."]),
        ("USD", {"type": "paypal", "phone": "415"}, ["phone: + and 7 to 15 digits, such as +14155550100."]),
        ("USD", {"type": "paypal", "paypal_id": "x"}, ["paypal_id: the 13 characters of a PayPal account."]),
        ("USD", CARD, ["type: must be one of paypal."]),
    ],
    ids=short_id,
)
def test_what_is_wrong_is_named(api, currency, details, errors):
    answer = post(api, currency, details)
    assert (answer.status_code, answer.json()) == (400, {"recipient_details": errors})
    assert not Payout.objects.exists()


def test_a_currency_that_is_not_paid_is_named(api, settings):
    settings.PAYOUT_ROUTES = {"*": "yookassa.north"}
    answer = post(api, "USD", CARD)
    assert (answer.status_code, answer.json()) == (400, {"currency": ["yookassa.north pays only RUB."]})


@pytest.mark.parametrize("name", ["http", "sandbox", "acme.bank.NorthBank", "http.yookassa", ""])
def test_other_gateways_take_anything(api, settings, name):
    settings.PAYOUT_ROUTES = {"*": name} if name else {}
    assert post(api, "RUB", {"type": "card", "number": "x"}).status_code == 201


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"recipient_details": SBP}, 200),
        ({"recipient_details": {**CARD, "number": "1"}}, 400),
        ({"currency": "USD"}, 400),
        ({"currency": "USD", "recipient_details": PAYPAL}, 200),
        ({"comment": "x"}, 200),
        ({"amount": "7.00"}, 200),
    ],
    ids=short_id,
)
def test_a_change_is_checked_together_with_what_stays(api, changes, code):
    payout = make_payout(recipient_details=CARD)
    assert api.patch(url_of(payout), changes).status_code == code
    assert (reload(payout).updated_at > payout.updated_at) == (code == 200)


def test_a_put_is_checked(api):
    payout = make_payout(recipient_details=CARD)
    request = {**REQUEST, "recipient_details": {"type": "card"}}
    assert api.put(url_of(payout), request).json() == {"recipient_details": ["number: this field is needed."]}


def test_a_change_of_what_is_not_there_is_not_found(api):
    answer = api.patch(f"{URL}01a1fcaf-a016-7176-b7af-bb375d1fea01/", {"recipient_details": {"a": 1}})
    assert answer.status_code == 404


def test_a_repetition_is_answered_though_its_provider_changed_since(api, settings):
    settings.PAYOUT_ROUTES = {"*": "sandbox"}
    first = post(api, "RUB", {"iban": "x"}, **{"Idempotency-Key": "salary-1"})
    settings.PAYOUT_ROUTES = {"*": "yookassa.north"}
    again = post(api, "RUB", {"iban": "x"}, **{"Idempotency-Key": "salary-1"})
    assert (first.status_code, again.status_code, again["Idempotent-Replayed"]) == (201, 200, "true")
    assert again.json()["id"] == first.json()["id"]
    assert post(api, "RUB", {"iban": "y"}, **{"Idempotency-Key": "salary-1"}).status_code == 422
    assert post(api, "RUB", {"iban": "x"}, **{"Idempotency-Key": "salary-2"}).status_code == 400
    assert post(api, "RUB", {"iban": "x"}).status_code == 400


def test_the_errors_are_in_the_language_of_the_request(api):
    answer = post(api, "RUB", {"type": "card"}, **{"Accept-Language": "ru"})
    assert answer.json() == {"recipient_details": ["number: это поле нужно."]}


@pytest.mark.parametrize(
    ("details", "message"),
    [('{"type": "card"}', "number: this field is needed."), ('{"type": "yoomoney", "account": "41001614575714"}', "")],
)
def test_the_page_of_a_payout_says_what_is_wrong(superuser, details, message):
    payout = make_payout(recipient_details=CARD)
    answer = edit(superuser, payout, recipient_details=details)
    assert (answer.status_code == 302) == (not message)
    assert message in answer.content.decode()
    assert (reload(payout).recipient_details == CARD) == bool(message)


@pytest.mark.parametrize(("details", "message"), [('{"type": "card"}', "number: this field is needed."), ("", "")])
def test_the_dialog_of_a_retry_says_what_is_wrong(superuser, details, message):
    payout = make_payout(Status.FAILED, recipient_details=CARD)
    answer = post_dialog(superuser, payout, "retry", recipient_details=details)
    assert message in answer.content.decode()
    assert reload(payout).status == (Status.FAILED if message else Status.NEW)


def test_a_route_that_cannot_pay_its_currency_stops_a_worker(settings):
    settings.PAYOUT_ROUTES = {"USD": "yookassa.north"}
    gateways.routes.cache_clear()
    with pytest.raises(ImproperlyConfigured, match=r"PAYOUT_ROUTES cannot be used: yookassa\.north does not pay USD"):
        gateways.routes()


def test_the_pages_name_each_recipient():
    page, document = ((ROOT / "docs" / name).read_text() for name in ("api.md", "openapi.yaml"))
    for _currencies, types in TAKES.values():
        for each in types:
            [line] = [line for line in page.splitlines() if line.startswith(f"| `{each}` |")]
            assert all(f"`{field}`" in line for field in TYPES[each])
            assert f"`{each}` with" in document
