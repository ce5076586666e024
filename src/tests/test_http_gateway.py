"""The HTTP gateway against real HTTP servers: what each answer makes of the payout."""

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pycurl  # type: ignore[import-untyped]
import pytest
from django.db.models import F
from django.db.models.functions import Now

from payouts import gateways
from payouts.machine import Status
from payouts.models import Payout
from payouts.tasks import process
from tests.acceptance.service import Gateway
from tests.local import ROOT, free_port
from tests.make import REQUEST, make_payout, process_payout, reload, url_of

pytestmark = pytest.mark.django_db
TIMEOUT = 1


@dataclass
class Provider:
    """Answers each request as the test says, and keeps the request."""

    url: str
    # HTTP status and body. `{key}` in the body is the key of the payout that was sent.
    reply: tuple[int, bytes] = (200, b"")
    # None: the same as to a payment.
    lookup_reply: tuple[int, bytes] | None = None
    # So many bytes of its answer never come.
    missing: int = 0
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)


def handler(provider):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            provider.requests.append((self.command, self.path, dict(self.headers), body))
            is_look = self.command == "GET" and provider.lookup_reply is not None
            code, answer = provider.lookup_reply if is_look else provider.reply
            if body:
                answer = answer.replace(b"{key}", json.loads(body)["key"].encode())
            self.send_response(code)
            self.send_header("Content-Length", str(len(answer) + provider.missing))
            self.end_headers()
            self.wfile.write(answer)
            self.close_connection = bool(provider.missing)

        def do_GET(self):
            self.do_POST()

    return Handler


@contextmanager
def serve():
    provider = Provider("")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(provider)) as server:
        server.daemon_threads = True
        provider.url = f"http://127.0.0.1:{server.server_port}/payments"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield provider
        server.shutdown()


@pytest.fixture
def use(settings):
    """Makes the service use the gateway with this URL."""

    def set_route(url, **options):
        gateway = {"token": "", "lookup_url": "", "notification_token": "", "remembers": timedelta(days=1)}
        settings.PAYOUT_ROUTES = {"*": "http"}
        settings.PAYOUT_HTTP_GATEWAYS = {"http": {"url": url, "timeout": TIMEOUT, **gateway, **options}}
        gateways.routes.cache_clear()

    yield set_route
    gateways.routes.cache_clear()


@pytest.fixture
def provider(use):
    with serve() as provider:
        use(provider.url)
        yield provider


@pytest.fixture(scope="module")
def server():
    gateway = Gateway()
    yield gateway
    gateway.close()


@pytest.fixture
def gateway(server, use):
    """The reference gateway, which can be told how to behave."""
    use(f"{server.base}/payments")
    server.set(manner="current", moods=["ok"], token="")
    return server


def entries(gateway, payout):
    return [entry for entry in gateway.ledger() if entry["key"] == str(payout.gateway_key)]


def process_again(payout):
    """When it is due again."""
    Payout.objects.filter(pk=payout.pk).update(due_at=Now())
    process(str(payout.pk))
    return reload(payout)


def answer_about(payout, **fields):
    """What a provider that keeps the contract says of this payout."""
    about = {"key": str(payout.gateway_key), "amount": str(payout.amount), "currency": payout.currency}
    return json.dumps(about | fields).encode()


WORDS = '{"key": "{key}", "amount": "100.50", "currency": "RUB", %s}'
PAID, REFUSED, PENDING, ABSENT, RETURNED = (
    (WORDS % f'"status": "{status}"').encode() for status in ("paid", "refused", "pending", "absent", "returned")
)


# What decides: the words of the contract, whatever the HTTP status.


def test_a_paid_payout_keeps_the_reference(gateway):
    payout = process_payout(amount="12.30", currency="EUR", comment="€" * 1000)
    assert (payout.status, payout.gateway_reference) == (Status.COMPLETED, f"ref-{str(payout.gateway_key)[-12:]}")
    [entry] = entries(gateway, payout)
    assert (entry["amount"], entry["currency"], entry["comment"]) == ("12.30", "EUR", "€" * 1000)
    assert (entry["details"], entry["external_id"], entry["caller"]) == (payout.recipient_details, None, None)


def test_a_gateway_that_asks_for_a_token_gets_it(gateway, use):
    use(f"{gateway.base}/payments", token="known")
    [entry] = entries(gateway, process_payout())
    assert entry["caller"] == "Bearer known"


def test_a_refused_payout_keeps_the_reason_without_the_card_number_and_the_code(gateway):
    gateway.set_moods("refuse")
    payout = process_payout(recipient_details={"number": "4111 1111 1111 1234"})
    assert (payout.status, payout.failure_reason) == (Status.FAILED, "The card **** 1234 is refused.")
    assert (payout.failure_code, payout.gateway_reference) == ("card_refused", f"ref-{str(payout.gateway_key)[-12:]}")


def test_a_pending_payout_keeps_the_reference_and_is_asked_about_by_its_own_schedule(gateway):
    gateway.set(manner="pending", pending_seconds=60)
    payout = process_payout()
    assert (payout.status, payout.note) == (Status.PROCESSING, "")
    assert payout.gateway_reference == f"ref-{str(payout.gateway_key)[-12:]}"
    assert timedelta(seconds=4) < payout.due_at - payout.pending_since <= timedelta(seconds=5)


def test_money_that_came_back_before_anybody_asked_is_a_failure(provider):
    provider.reply = 200, WORDS.encode() % b'"status": "returned", "reason": "The account is closed."'
    payout = process_payout()
    assert (payout.status, payout.failure_reason) == (Status.FAILED, "Returned: The account is closed.")


@pytest.mark.parametrize(
    ("body", "status"), [(PAID, Status.COMPLETED), (REFUSED, Status.FAILED), (PENDING, Status.PROCESSING)]
)
@pytest.mark.parametrize("code", [200, 201, 202, 206, 302, 400, 401, 402, 404, 409, 429, 500, 503])
def test_the_body_decides_whatever_the_http_status(provider, code, body, status):
    provider.reply = code, body
    payout = process_payout()
    assert (payout.status, payout.note) == (status, "")


@pytest.mark.parametrize("amount", ["100.50", "100.5", 100.5, "100.500", "1.005E2"])
def test_an_amount_is_compared_as_a_number(provider, amount):
    payout = make_payout()
    provider.reply = 200, answer_about(payout, status="paid", amount=amount)
    process(str(payout.pk))
    assert reload(payout).status == Status.COMPLETED


@pytest.mark.parametrize("words", ['"status": "refused"', '"status": "pending"', '"status": "absent"'])
def test_only_a_payment_must_repeat_the_amount(provider, words):
    provider.reply = 200, b'{"key": "{key}", %s}' % words.encode()
    assert not process_payout().note.startswith("HTTP")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ('"status": "refused"', ("Refused.", "", "")),
        ('"status": "refused", "reason": null, "code": 7, "reference": 8', ("Refused.", "7", "8")),
        ('"status": "refused", "reason": ["x"], "reference": {"a": 1}', ("['x']", "", "{'a': 1}")),
        ('"status": "refused", "reason": "a\\u0000b\\ud800"', ("a b ", "", "")),
        (
            f'"status": "refused", "reason": "{"r" * 1001}", "code": "{"c" * 101}", "reference": "{"f" * 256}"',
            ("r" * 1000, "c" * 100, "f" * 255),
        ),
    ],
    ids=["nothing", "numbers", "nested", "unprintable", "long"],
)
def test_whatever_a_refusal_says_can_be_stored(provider, words, expected):
    provider.reply = 400, (WORDS % words).encode()
    payout = process_payout()
    assert payout.status == Status.FAILED
    assert (payout.failure_reason, payout.failure_code, payout.gateway_reference) == expected


# What decides nothing.

CODES = (200, 201, 202, 204, 206, 301, 400, 401, 402, 403, 404, 408, 409, 422, 429, 500, 502, 503)
NO_WORD = [
    *((code, b"{}") for code in CODES if code != 204),
    *((code, b"") for code in CODES),
    (400, b'{"status": 400, "error": "Bad Request"}'),
    (400, b'{"key": "{key}", "error": "duplicate"}'),
    (409, b'{"detail": "This key was used before."}'),
    (200, b'{"Success": true, "Model": {"Id": 7}}'),
    (200, b'{"Success": false, "Message": "No money."}'),
    (200, b'{"status": "canceled", "key": "{key}"}'),
    (200, PAID.replace(b"paid", b"PAID")),
    (200, PAID.replace(b'"paid"', b'["paid"]')),
    (200, PAID.replace(b'"paid"', b"true")),
    (402, b'{"reason": "The card is refused."}'),
    (200, b"<html>The proxy is being maintained</html>"),
    (200, b"[" + PAID + b"]"),
    (200, b'"paid"'),
    (200, b"null"),
    (200, PAID + PAID),
    (200, PAID[:-1]),
    (200, PAID[:-1] + b', "note": "\xff"}'),
    (200, PAID[:-1] + b', "n": ' + b"9" * 5000 + b"}"),
    (200, b"[" * 60_000),
]


@pytest.mark.parametrize(("code", "body"), NO_WORD, ids=lambda value: ascii(value)[:40])
def test_an_answer_without_a_word_of_the_contract_leaves_the_outcome_unknown(provider, code, body):
    provider.reply = code, body
    payout = process_payout()
    assert (payout.status, payout.taken_at) == (Status.PROCESSING, None)
    assert payout.note == f"HTTP {code} without a status that we know"


ANOTHER_KEY = b"01a20000-0000-7000-8000-000000000000"
NO_AMOUNTS = (b'"NaN"', b'"sNaN"', b"NaN", b"[100.50]", b"true", b'""', b"null")
OF_ANOTHER = [
    *(word.replace(b"{key}", ANOTHER_KEY) for word in (PAID, REFUSED, PENDING, ABSENT, RETURNED)),
    *(word.replace(b'"key": "{key}", ', b"") for word in (PAID, REFUSED)),
    *(word.replace(b'"{key}"', b"null") for word in (PAID, REFUSED)),
    PAID.replace(b"{key}", b" {key}"),
    *(word.replace(b"100.50", b"100.51") for word in (PAID, REFUSED, PENDING, ABSENT, RETURNED)),
    *(word.replace(b"RUB", b"USD") for word in (PAID, REFUSED, PENDING, ABSENT, RETURNED)),
    PAID.replace(b'"amount": "100.50", ', b""),
    PAID.replace(b'"currency": "RUB", ', b""),
    *(
        PAID.replace(b'"100.50"', amount)
        for amount in (b'"NaN"', b'"sNaN"', b"NaN", b"[100.50]", b"true", b'""', b"null")
    ),
    PAID.replace(b'"RUB"', b'["RUB"]'),
]


@pytest.mark.parametrize("body", OF_ANOTHER, ids=lambda value: ascii(value)[:120])
def test_an_answer_about_another_payment_leaves_the_outcome_unknown(provider, body):
    provider.reply = 200, body
    payout = process_payout()
    assert (payout.status, payout.note) == (Status.PROCESSING, "the answer is about another payment")
    assert payout.asked_at


@pytest.mark.parametrize("body", [PAID, REFUSED])
def test_an_answer_that_is_cut_leaves_the_outcome_unknown(provider, body):
    provider.reply, provider.missing = (200, body), 1
    assert process_payout().note.startswith("curl error 18: ")


@pytest.mark.parametrize(
    ("mood", "note"),
    [
        *((code, f"HTTP {code}") for code in ("500", "401", "409", "202", "429", "302")),
        ("broken", "HTTP 503"),
        ("page", "HTTP 200 "),
        ("empty", "HTTP 200 "),
        ("proxy", "HTTP 400 "),
        ("half", "HTTP 201 "),
        ("exchange", "HTTP 200 "),
        ("other key", "the answer is about another payment"),
        ("other amount", "the answer is about another payment"),
        ("cut", "curl error 18: "),
        ("drop", "curl error 52: "),
        ("hang", "curl error 28: "),
        ("drip", "curl error 28: "),
        ("long", "curl error 63: "),
    ],
)
def test_a_payout_whose_gateway_misbehaves_is_paid_once_when_it_is_well_again(gateway, mood, note):
    gateway.set_moods(mood)
    payout = process_payout()
    assert (payout.status, payout.processed_at) == (Status.PROCESSING, None)
    assert payout.note.startswith(note)
    gateway.set_moods("ok")
    payout = process_again(payout)
    assert (payout.status, payout.attempt) == (Status.COMPLETED, 2)
    assert [entry["status"] for entry in entries(gateway, payout)] == ["paid"]


@pytest.mark.parametrize("late_seconds", [0, 0.2])
def test_a_second_copy_of_an_answer_settles_no_other_payout(gateway, late_seconds):
    assert process_payout(recipient_details={"mood": "twice"}).status == Status.COMPLETED
    time.sleep(late_seconds)
    other = process_payout(recipient_details={"number": "4000000000000002", "mood": "slow"})
    assert other.status != Status.COMPLETED
    # From now on the gateway is quick.
    Payout.objects.filter(pk=other.pk).update(recipient_details={"number": "4000000000000002"})
    assert other.status == Status.FAILED or process_again(other).status == Status.FAILED


def test_an_answer_after_the_timeout_is_not_read_for_the_next_payout(gateway):
    assert process_payout(recipient_details={"mood": "hang"}).status == Status.PROCESSING
    assert process_payout(recipient_details={"number": "4000000000000002"}).status == Status.FAILED


# Nothing was sent: it has not been asked, however long the outage is.


def test_a_provider_that_refuses_connections_has_not_been_asked(use):
    use(f"http://127.0.0.1:{free_port()}/")
    payout = process_payout()
    assert (payout.status, payout.asked_at) == (Status.PROCESSING, None)
    assert payout.note.startswith("curl error 7: ")


def test_a_provider_whose_name_nobody_knows_has_not_been_asked(use):
    use("http://gateway.invalid/", timeout=5)
    payout = process_payout()
    assert (payout.status, payout.asked_at) == (Status.PROCESSING, None)
    assert payout.note.startswith("curl error 6: ")


def test_a_provider_whose_certificate_is_unknown_has_not_been_asked(use, certificate, monkeypatch):
    gateway = Gateway(str(certificate))
    use(f"{gateway.base}/payments")
    payout = process_payout()
    assert (payout.note[:15], payout.asked_at) == ("curl error 60: ", None)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    use(f"{gateway.base}/payments")
    assert process_again(payout).status == Status.COMPLETED
    gateway.close()


def test_a_provider_that_does_not_finish_the_handshake_has_not_been_asked(use):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        use(f"https://127.0.0.1:{mute.getsockname()[1]}/", timeout=0.3)
        payout = process_payout()
    assert (payout.note[:15], payout.asked_at) == ("curl error 28: ", None)


def test_a_provider_that_speaks_no_tls_has_not_been_asked(gateway, use):
    use(f"{gateway.base}/payments".replace("http", "https"))
    payout = process_payout()
    assert (payout.note[:15], payout.asked_at) == ("curl error 35: ", None)


def test_a_provider_that_says_absent_has_not_been_asked(provider):
    provider.reply = 403, WORDS.encode() % b'"status": "absent", "reason": "wrong secret"'
    payout = process_payout()
    assert (payout.status, payout.asked_at, payout.note) == (Status.PROCESSING, None, "wrong secret")


@pytest.mark.parametrize("mood", ["hang", "drop", "401"])
def test_a_provider_that_does_not_say_what_it_did_has_been_asked(gateway, mood):
    assert process_payout(recipient_details={"mood": mood}).asked_at


def test_a_later_attempt_that_sends_nothing_does_not_undo_the_first(gateway, use):
    first = process_payout(recipient_details={"mood": "drop"})
    use(f"http://127.0.0.1:{free_port()}/")
    second = process_again(first)
    assert (second.note[:14], second.asked_at) == ("curl error 7: ", first.asked_at)


def test_a_wrong_secret_fails_nothing_and_the_right_one_pays_all(gateway, use):
    gateway.set(token="right")
    use(f"{gateway.base}/payments", token="wrong")
    payouts = [process_payout() for _ in range(4)]
    assert {(payout.status, payout.note[:8]) for payout in payouts} == {(Status.PROCESSING, "HTTP 401")}
    use(f"{gateway.base}/payments", token="right")
    assert {process_again(payout).status for payout in payouts} == {Status.COMPLETED}
    assert [len(entries(gateway, payout)) for payout in payouts] == [1] * 4


# What is sent, and the look before a repetition.


def test_the_request_is_as_the_contract_says(provider, use):
    use(provider.url, token="known")
    payout = process_payout(comment="for July", external_id="order 7")
    [(method, path, headers, body)] = provider.requests
    assert (method, path) == ("POST", "/payments")
    assert headers["Content-Type"] == "application/json"
    assert headers["Idempotency-Key"] == str(payout.gateway_key)
    assert headers["Authorization"] == "Bearer known"
    about = {"key": str(payout.gateway_key), "comment": "for July", "external_id": "order 7"}
    assert json.loads(body) == {**REQUEST, **about}


def test_a_repetition_after_a_lost_row_is_the_same_request(provider, api):
    for _lost in range(2):
        answer = api.post("/api/v1/payouts/", {**REQUEST, "user_id": 7}, headers={"Idempotency-Key": "July"})
        process(answer.data["id"])
        Payout.objects.filter(pk=answer.data["id"]).delete()
    first, second = provider.requests
    assert first == second


def test_a_retry_by_a_person_has_a_new_key(gateway, api):
    gateway.set_moods("refuse")
    payout = process_payout()
    gateway.set_moods("ok")
    api.patch(url_of(payout), {"status": "NEW"})
    process(str(payout.pk))
    retried = reload(payout)
    assert [entry["status"] for each in (payout, retried) for entry in entries(gateway, each)] == ["refused", "paid"]


def test_a_payout_that_was_asked_about_is_looked_up_by_its_key(provider, use):
    use(provider.url, lookup_url=f"{provider.url}?key={{key}}")
    payout = process_payout()
    provider.lookup_reply = 200, answer_about(payout, status="paid", reference="r")
    assert process_again(payout).gateway_reference == "r"
    assert [request[:2] for request in provider.requests] == [
        ("POST", "/payments"),
        ("GET", f"/payments?key={payout.gateway_key}"),
    ]


def test_a_payout_whose_reference_is_known_is_looked_up_by_it(provider, use):
    use(provider.url, lookup_url=f"{provider.url}/{{reference}}")
    provider.reply = 202, WORDS.encode() % b'"status": "pending", "reference": "a/b?c"'
    payout = process_payout()
    provider.lookup_reply = 200, answer_about(payout, status="paid")
    payout = process_again(payout)
    assert (payout.status, payout.gateway_reference) == (Status.COMPLETED, "a/b?c")
    assert provider.requests[-1][:2] == ("GET", "/payments/a%2Fb%3Fc")


def test_a_payout_without_a_reference_is_sent_again_where_only_a_reference_leads_to_it(provider, use):
    use(provider.url, lookup_url=f"{provider.url}/{{reference}}")
    payout = process_payout()
    provider.reply = 200, PAID
    assert process_again(payout).status == Status.COMPLETED
    assert [request[0] for request in provider.requests] == ["POST", "POST"]


@pytest.mark.parametrize(
    ("reply", "methods"),
    [
        ((404, b'{"key": "{key}", "status": "absent"}'), ["POST", "GET", "POST"]),
        ((200, b'{"status": "absent"}'), ["POST", "GET"]),
        ((404, b""), ["POST", "GET"]),
        ((404, b"{}"), ["POST", "GET"]),
        ((401, b"{}"), ["POST", "GET"]),
        ((200, b'{"key": "{key}", "status": "pending"}'), ["POST", "GET"]),
    ],
)
def test_only_the_plain_word_absent_lets_it_be_sent_again(provider, use, reply, methods):
    use(provider.url, lookup_url=f"{provider.url}?key={{key}}")
    payout = process_payout()
    code, body = reply
    provider.lookup_reply = code, body.replace(b"{key}", str(payout.gateway_key).encode())
    assert process_again(payout).status == Status.PROCESSING
    assert [request[0] for request in provider.requests] == methods


def test_a_look_up_that_reaches_nobody_leaves_the_outcome_unknown(provider, use):
    use(provider.url, lookup_url=f"http://127.0.0.1:{free_port()}/{{key}}")
    payout = process_again(process_payout())
    assert (payout.note[:14], len(provider.requests)) == ("curl error 7: ", 1)
    assert payout.asked_at


@pytest.mark.parametrize("has_lookup", [False, True])
def test_a_key_that_may_be_forgotten_is_not_sent_and_waits_for_a_person(gateway, use, has_lookup):
    gateway.set(manner="forgets", forget_seconds=100)
    lookup_url = f"{gateway.base}/payments?key={{key}}" if has_lookup else ""
    use(f"{gateway.base}/payments", lookup_url=lookup_url, remembers=timedelta(seconds=100))
    payout = process_payout(recipient_details={"mood": "broken"})
    # The last send is a lease earlier than the provider forgets.
    Payout.objects.filter(pk=payout.pk).update(asked_at=F("asked_at") - timedelta(seconds=41))
    payout = process_again(payout)
    assert (payout.status, payout.due_at) == (Status.PROCESSING, None)
    assert payout.note == "its key may be forgotten: whoever sends it again may pay twice"
    assert entries(gateway, payout) == []


# The providers of GATEWAYS.md.


def process_twice_by_manner(gateway, use, manner, *, has_lookup, **fields):
    gateway.set(manner=manner)
    use(f"{gateway.base}/payments", lookup_url=f"{gateway.base}/payments?key={{key}}" if has_lookup else "")
    payout = process_payout(recipient_details={"mood": "drop", **fields})
    assert payout.status == Status.PROCESSING
    return process_again(payout)


@pytest.mark.parametrize(
    ("manner", "has_lookup", "status"),
    [
        ("current", False, Status.COMPLETED),
        ("current", True, Status.COMPLETED),
        ("duplicate-400", False, Status.PROCESSING),
        ("duplicate-400", True, Status.COMPLETED),
        ("duplicate-409", False, Status.COMPLETED),
        ("duplicate-409", True, Status.COMPLETED),
        ("success-false", True, Status.COMPLETED),
    ],
)
def test_a_payout_whose_answer_was_lost_is_paid_once(gateway, use, manner, has_lookup, status):
    payout = process_twice_by_manner(gateway, use, manner, has_lookup=has_lookup)
    # Without a look-up it is dropped once more: its mood is in its details.
    Payout.objects.filter(pk=payout.pk).update(recipient_details={"a": 1})
    payout = process_again(payout)
    assert payout.status == status
    assert [entry["status"] for entry in entries(gateway, payout)] == ["paid"]


def test_a_refusal_under_success_false_is_learned_by_looking(gateway, use):
    payout = process_twice_by_manner(gateway, use, "success-false", has_lookup=True, number="4000000000000002")
    assert (payout.status, payout.failure_code) == (Status.FAILED, "card_refused")


@pytest.mark.parametrize(("number", "status"), [("1", Status.COMPLETED), ("4000000000000002", Status.FAILED)])
def test_a_pending_payout_is_settled_by_looking(gateway, use, number, status):
    gateway.set(manner="pending", pending_seconds=0.2)
    use(f"{gateway.base}/payments", lookup_url=f"{gateway.base}/payments?key={{key}}")
    payout = process_payout(recipient_details={"number": number})
    assert payout.pending_since
    time.sleep(0.3)
    assert process_again(payout).status == status


def test_a_provider_that_repeats_its_first_answer_for_ever_tells_the_truth_when_looked_at(gateway, use):
    gateway.set(manner="first-answer", pending_seconds=0.2, pending_share=1)
    use(f"{gateway.base}/payments")
    payout = process_payout()
    time.sleep(0.3)
    payout = process_again(payout)
    assert (payout.status, bool(payout.pending_since)) == (Status.PROCESSING, True)
    use(f"{gateway.base}/payments", lookup_url=f"{gateway.base}/payments?key={{key}}")
    assert process_again(payout).status == Status.COMPLETED


def complete_and_hint(gateway, use, *, has_lookup=True, **behaviour):
    gateway.set(**behaviour)
    use(f"{gateway.base}/payments", lookup_url=f"{gateway.base}/payments?key={{key}}" if has_lookup else "")
    payout = process_payout()
    assert payout.status == Status.COMPLETED
    time.sleep(0.2)
    assert Payout.objects.hint("http", [payout.gateway_key], by="a test") == [payout.pk]
    process(str(payout.pk))
    return payout, reload(payout)


def test_money_that_comes_back_makes_a_completed_payout_failed(gateway, use):
    before, after = complete_and_hint(gateway, use, manner="returns", return_seconds=0.1, return_share=1)
    assert (after.status, after.failure_reason) == (Status.FAILED, "Returned: The account is closed.")
    assert (after.failure_code, after.processed_at) == ("account_closed", before.processed_at)
    [entry] = entries(gateway, after)
    assert entry["posts"] == 1


@pytest.mark.parametrize("has_lookup", [True, False])
def test_a_hint_without_cause_leaves_a_completed_payout_as_it_is(gateway, use, has_lookup):
    before, after = complete_and_hint(gateway, use, has_lookup=has_lookup, manner="current")
    assert (after.status, after.due_at, after.processed_at) == (Status.COMPLETED, None, before.processed_at)
    [entry] = entries(gateway, after)
    assert entry["posts"] == 1


def test_a_provider_that_has_forgotten_a_completed_payout_takes_nothing_back(gateway, use):
    _before, after = complete_and_hint(gateway, use, manner="forgets", forget_seconds=0.1)
    assert (after.status, after.note, after.due_at) == (Status.COMPLETED, "The provider says absent.", None)


# What is said of a failure.


@pytest.mark.parametrize("separator", ["", " - ", "  ", "\u2013", "\u202f", "+", "%20", "%C2%A0"])
def test_a_reason_hides_a_card_number_however_it_is_written(separator):
    answer = gateways.refused(f"no {separator.join(('4111', '1111', '1111', '1234'))}!")
    assert answer.failure_reason == "no **** 1234!"


def test_a_reason_hides_numbers_of_12_to_19_digits():
    for length, is_hidden in ((11, False), (12, True), (19, True)):
        digits = "1234567890123456789"[:length]
        reason = gateways.refused(f"no {digits}!").failure_reason
        assert reason == (f"no **** {digits[-4:]}!" if is_hidden else f"no {digits}!")


@pytest.mark.parametrize("suffix", ["", "-a", " a"])
def test_a_reason_hides_two_card_numbers_that_look_like_a_uuid(suffix):
    assert "4111" not in gateways.refused(f"no 41111111-1111-1111-5500-000000000004{suffix}").failure_reason


@pytest.mark.parametrize("reason", ["45000 + 45000 + 45000", "1000000+2000000", "+7 912 345-67-89 +7 912 345-67-90"])
def test_a_reason_shows_sums_and_telephone_numbers(reason):
    assert gateways.refused(reason).failure_reason == reason


@pytest.mark.parametrize(
    "number", ["01a20000-0000-7000-8000-000000000000", "0123456789012345678901234567abcd", "192.168.100.200"]
)
def test_a_reason_shows_ids_and_addresses(number):
    assert gateways.refused(f"no {number}").failure_reason == f"no {number}"


# Connections.

SLOW_LOOKUP = """
#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <unistd.h>
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result) {
    sleep(15);
    close(creat(getenv("LOOKUP_ENDED"), 0600));
    return EAI_AGAIN;
}
"""
THREE_CALLS = """
import os, django
django.setup()
from payouts.gateways import CallError, routes
from payouts.models import Payout
from runtime.clock import clock
gateway = routes()["http"].gateway
for number in range(3):
    payout = Payout(amount=1, currency="EUR", recipient_details={"a": 1})
    payout.deadline = payout.send_before = clock() + 0.2
    try:
        gateway.pay(payout)
    except CallError as error:
        print(error.answer.note[:13])
print("the look-up has ended" if os.path.exists(os.environ["LOOKUP_ENDED"]) else "the look-up goes on", flush=True)
os._exit(0)
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler for a slow name look-up")
def test_an_endless_name_look_up_does_not_delay_later_calls(tmp_path, monkeypatch):
    (tmp_path / "lookup.c").write_text(SLOW_LOOKUP)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "lookup.so", tmp_path / "lookup.c"], check=True)
    monkeypatch.setenv("LD_PRELOAD", str(tmp_path / "lookup.so"))
    monkeypatch.setenv("LOOKUP_ENDED", str(tmp_path / "lookup-ended"))
    monkeypatch.setenv("PAYOUT_GATEWAY", "http")
    monkeypatch.setenv("PAYOUT_GATEWAY_URL", "http://gateway.example/")
    calls = [sys.executable, "-c", THREE_CALLS]
    run = subprocess.run(calls, cwd=ROOT / "src", capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["curl error 28"] * 3 + ["the look-up goes on"]


def test_the_gateway_keeps_its_connection(gateway):
    assert [process_payout().status for _ in range(3)] == [Status.COMPLETED] * 3
    assert gateways.routes()["http"].gateway.client.curl.getinfo(pycurl.NUM_CONNECTS) == 0
