"""What docs/gateways.md says: its class of one's own pays, and its tables have what the code has."""

import json
import re
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.core.exceptions import ImproperlyConfigured

from payouts import gateways
from payouts.gateways import PENDING_SCHEDULE, client, notifications, sandbox
from payouts.machine import Status
from payouts.models import Payout
from payouts.tasks import process
from tests.local import ROOT
from tests.make import make_payout

PAGE = (ROOT / "docs/gateways.md").read_text()
[EXAMPLE] = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
NAME = "acme.bank.NorthBank"
NOTIFICATIONS = f"/gateways/{NAME}/"


class Bank(ThreadingHTTPServer):
    """North Bank: it accepts each order once, and then says of it what the test wants."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), BankHandler)
        self.orders = {}
        self.posts = 0
        self.verdict = {"status": "accepted"}


class BankHandler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_POST(self):
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.posts += 1
        self.server.orders.setdefault(order["order"], order)
        self.answer({**order, "number": "n-1", "status": "accepted"})

    def do_GET(self):
        key = self.path.rpartition("/")[2]
        if order := self.server.orders.get(key):
            self.answer({**order, "number": "n-1", **self.server.verdict})
        else:
            self.answer({"order": key, "status": "never seen"})

    def answer(self, content):
        is_known = self.headers["X-Bank-Secret"] == "known"
        self.send_response(200 if is_known else 401)
        self.end_headers()
        self.wfile.write(json.dumps(content if is_known else {}).encode())


@contextmanager
def run_bank():
    with Bank() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def example(tmp_path, monkeypatch, settings):
    """The class of the page as a module, and the route to it."""
    folder = tmp_path / "acme"
    folder.mkdir()
    (folder / "bank.py").write_text(EXAMPLE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("NORTH_BANK_SECRET", "known")
    settings.PAYOUT_ROUTES = {"*": NAME}
    gateways.routes.cache_clear()
    yield
    gateways.routes.cache_clear()
    for name in ("acme", "acme.bank"):
        sys.modules.pop(name, None)


@pytest.fixture
def bank(example, monkeypatch):
    with run_bank() as server:
        monkeypatch.setenv("NORTH_BANK_URL", f"http://127.0.0.1:{server.server_port}/orders")
        yield server


def make_order(**fields):
    return make_payout(recipient_details={"account": "40817"}, **fields)


def ask(payout):
    """Lets a worker take the payout now. Returns it as it is then."""
    Payout.objects.filter(pk=payout.pk, due_at__isnull=False).update(due_at=payout.created_at)
    process(str(payout.pk))
    return Payout.objects.get(pk=payout.pk)


@pytest.mark.django_db
def test_the_class_of_the_page_keeps_an_accepted_order_pending(bank):
    payout = ask(make_order())
    assert (payout.status, payout.gateway, payout.gateway_reference) == (Status.PROCESSING, NAME, "n-1")
    assert payout.pending_since


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("verdict", "status", "reason"),
    [
        ({"status": "booked"}, Status.COMPLETED, ""),
        ({"status": "booked", "sum": "1.00"}, Status.PROCESSING, ""),
        ({"status": "rejected", "why": "No such account."}, Status.FAILED, "No such account."),
        ({"status": "sent back", "why": "Closed."}, Status.FAILED, "Returned: Closed."),
        ({"status": "booked", "order": "another"}, Status.PROCESSING, ""),
        ({"status": "in the post"}, Status.PROCESSING, ""),
    ],
)
def test_the_class_of_the_page_looks_instead_of_sending_again(bank, verdict, status, reason):
    payout = ask(make_order())
    bank.verdict = verdict
    payout = ask(payout)
    assert (payout.status, payout.failure_reason, bank.posts) == (status, reason, 1)


@pytest.mark.django_db
def test_the_class_of_the_page_sends_again_what_the_bank_never_got(bank):
    payout = ask(make_order())
    bank.orders.clear()
    assert ask(payout).status == Status.PROCESSING
    assert (bank.posts, list(bank.orders)) == (2, [str(payout.gateway_key)])


@pytest.mark.django_db
def test_the_class_of_the_page_refuses_what_names_no_account(bank):
    assert (ask(make_payout()).failure_code, bank.posts) == ("no_account", 0)


@pytest.mark.django_db
@pytest.mark.parametrize("variable", ["NORTH_BANK_URL", "NORTH_BANK_SECRET"])
def test_an_order_that_reaches_nobody_has_not_been_asked(bank, monkeypatch, variable):
    monkeypatch.setenv(variable, "http://127.0.0.1:1/" if variable.endswith("URL") else "wrong")
    payout = ask(make_order())
    assert payout.status == Status.PROCESSING
    # The bank's 401 may come from a proxy after the fact. A refused connection is certain.
    assert (payout.asked_at is None) == (variable == "NORTH_BANK_URL")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("secret", "code", "status"), [("known", 200, "COMPLETED"), ("wrong", 403, "PROCESSING")])
def test_a_notification_of_the_page_s_bank_makes_its_order_due(bank, client, secret, code, status):
    payout = ask(make_order())
    bank.verdict = {"status": "booked"}
    body = {"order": str(payout.gateway_key)}
    answer = client.post(NOTIFICATIONS, body, "application/json", headers={"X-Bank-Secret": secret})
    process(str(payout.pk))
    assert (answer.status_code, Payout.objects.get(pk=payout.pk).status) == (code, status)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("body", "code"), [("", 400), ("[]", 400), ('{"order": 5}', 200), ('{"order": "x"}', 200), ('{"order": null}', 200)]
)
def test_a_notification_that_names_nothing_changes_nothing(bank, client, body, code):
    answer = client.post(NOTIFICATIONS, body, "application/json", headers={"X-Bank-Secret": "known"})
    assert answer.status_code == code


def test_a_class_whose_variable_is_missing_stops_the_start(example):
    with pytest.raises(ImproperlyConfigured, match=f"PAYOUT_ROUTES cannot be used: {NAME}: 'NORTH_BANK_URL'"):
        gateways.routes()


def test_the_page_names_each_card_of_the_sandbox():
    cards = set(re.findall(r"^\| `(\d{16})` \|", PAGE, re.MULTILINE))
    assert cards == set(sandbox.CARDS)


def test_the_page_names_each_word_of_an_answer():
    table = PAGE.partition("## What an answer means")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(client.READERS)


def test_the_page_states_the_limits_as_they_are():
    limits = {client.ANSWER_MAX_BYTES, notifications.BODY_MAX_BYTES}
    assert limits == {64 * 1024}
    assert f"More than {notifications.MOST_A_SECOND} notifications" in PAGE
    assert [step.total_seconds() for step in PENDING_SCHEDULE] == [5, 15, 60, 300, 900, 3600]
    assert "5 s, 15 s, 1 min, 5 min, 15 min, then every hour" in PAGE
