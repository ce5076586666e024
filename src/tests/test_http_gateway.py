"""The HTTP gateway against the reference gateway: what each answer makes of the payout."""

import json
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import timedelta
from urllib.request import Request, urlopen

import pycurl  # type: ignore[import-untyped]
import pytest

from payouts import gateways
from payouts.gateways.http import read
from payouts.machine import Outcome, Status
from payouts.models import Payout
from payouts.tasks import process
from tests.local import ROOT, free_port
from tests.make import make_payout, url_of

pytestmark = pytest.mark.django_db


@contextmanager
def run_gateway(*arguments):
    """Yields the address of a reference gateway."""
    port = free_port()
    server = subprocess.Popen([sys.executable, "-m", "tests.gateway", str(port), *arguments])
    for _attempt in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.05)
    yield f"127.0.0.1:{port}/"
    server.kill()
    server.wait()


@pytest.fixture(scope="module")
def server():
    with run_gateway() as address:
        yield f"http://{address}"


@pytest.fixture
def gateway(server, settings):
    """Makes the service use the reference gateway. Called with modes, it sets them."""
    settings.PAYOUT_GATEWAY, settings.PAYOUT_GATEWAY_URL, settings.PAYOUT_GATEWAY_TIMEOUT = "http", server, 1
    gateways.configured.cache_clear()
    yield lambda *modes: urlopen(Request(server, json.dumps(modes).encode(), method="PUT")).close()
    gateways.configured.cache_clear()


def entries(server, payout):
    with urlopen(server) as answer:
        return [entry for entry in json.load(answer) if entry["payout"] == str(payout.pk)]


def process_payout(**fields):
    payout = make_payout(**fields)
    process(str(payout.pk))
    payout.refresh_from_db()
    return payout


def test_a_paid_payout_keeps_the_reference(gateway, server):
    gateway("ok")
    payout = process_payout(amount="12.30", currency="EUR", comment="€" * 1000)
    assert (payout.status, payout.gateway_reference) == (Status.COMPLETED, f"ref-{str(payout.pk)[-12:]}")
    (entry,) = entries(server, payout)
    assert (entry["amount"], entry["currency"], entry["comment"]) == ("12.30", "EUR", "€" * 1000)
    assert entry["details"] == payout.recipient_details
    assert (entry["key"], entry["caller"]) == (f"{payout.pk}:1", None)


def test_a_gateway_that_asks_for_a_token_gets_it(gateway, server, settings):
    settings.PAYOUT_GATEWAY_TOKEN = "known"
    gateway("ok")
    (entry,) = entries(server, process_payout())
    assert entry["caller"] == "Bearer known"


def test_a_refused_payout_keeps_the_reason_without_the_card_number(gateway):
    gateway("refuse")
    payout = process_payout(recipient_details={"number": "4111 1111 1111 1234"})
    assert (payout.status, payout.failure_reason) == (Status.FAILED, "The card **** 1234 is refused.")


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


@pytest.mark.parametrize(
    ("mode", "note"),
    [
        *((code, f"HTTP {code}") for code in ("500", "401", "409", "202", "429", "302")),
        ("broken", "HTTP 503"),
        ("page", "HTTP 200 with a broken answer"),
        ("drop", "curl error 52: "),
        ("hang", "curl error 28: "),
        ("drip", "curl error 28: "),
        ("long", "curl error 63: "),
    ],
)
def test_any_other_answer_leaves_the_outcome_unknown_and_the_payout_is_paid_once(gateway, server, mode, note):
    gateway(mode)
    payout = process_payout()
    assert (payout.status, payout.processed_at) == (Status.PROCESSING, None)
    assert payout.note.startswith(note)
    gateway("ok")
    Payout.objects.filter(pk=payout.pk).update(due_at="2026-01-01T00:00:00Z")
    process(str(payout.pk))
    payout.refresh_from_db()
    assert (payout.status, payout.attempt) == (Status.COMPLETED, 2)
    assert [entry["paid"] for entry in entries(server, payout)] == [True]


def test_a_retry_by_a_person_has_a_new_key(gateway, server, api):
    gateway("refuse")
    payout = process_payout()
    gateway("ok")
    api.patch(url_of(payout), {"status": "NEW"})
    process(str(payout.pk))
    assert [(entry["key"], entry["paid"]) for entry in entries(server, payout)] == [
        (f"{payout.pk}:1", False),
        (f"{payout.pk}:2", True),
    ]


def test_an_unreachable_gateway_leaves_the_outcome_unknown(gateway, settings):
    settings.PAYOUT_GATEWAY_URL = f"http://127.0.0.1:{free_port()}/"
    assert process_payout().status == Status.PROCESSING


def test_a_worker_refuses_a_gateway_whose_certificate_it_does_not_know(gateway, certificate, settings, monkeypatch):
    with run_gateway(str(certificate)) as address:
        settings.PAYOUT_GATEWAY_URL = f"https://{address}"
        assert process_payout().note.startswith("curl error 60: ")
        gateways.configured.cache_clear()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert process_payout().status == Status.COMPLETED


def test_a_second_copy_of_an_answer_is_not_read_for_the_next_payout(gateway):
    gateway("ok")
    assert process_payout(recipient_details={"mode": "twice"}).gateway_reference == "once"
    time.sleep(0.2)
    assert process_payout(recipient_details={"number": "4000000000000002"}).status == Status.FAILED


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
from payouts.gateways import configured
from payouts.models import Payout
for number in range(3):
    print(configured().pay(Payout(amount=1, currency="EUR", recipient_details={"a": 1})).note[:13])
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
    monkeypatch.setenv("PAYOUT_GATEWAY_TIMEOUT", "0.2")
    calls = [sys.executable, "-c", THREE_CALLS]
    run = subprocess.run(calls, cwd=ROOT / "src", capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["curl error 28"] * 3 + ["the look-up goes on"]


def test_the_gateway_keeps_its_connection(gateway, server):
    gateway("ok")
    client = gateways.configured()
    payouts = [make_payout() for _ in range(3)]
    assert [client.pay(payout).outcome for payout in payouts] == [Outcome.PAID] * 3
    assert client.curl.getinfo(pycurl.NUM_CONNECTS) == 0


@pytest.mark.parametrize(
    ("code", "body", "status"),
    [
        (200, b'{"reference": "r"}', Status.COMPLETED),
        (201, b"{}", Status.COMPLETED),
        (204, b"", Status.COMPLETED),
        (200, b'{"reference": 7}', Status.COMPLETED),
        (200, b'{"reference": {"a": 1}}', Status.COMPLETED),
        (200, b'{"reference": "' + b"x\\u0000" * 500 + b'"}', Status.COMPLETED),
        (400, b"", Status.FAILED),
        (402, b'{"reason": "' + b"x\\ud800" * 5000 + b'"}', Status.FAILED),
        (400, b'{"reason": ["x"]}', Status.FAILED),
        (400, b"<html>No required SSL certificate was sent", Status.PROCESSING),
        (422, b"[]", Status.PROCESSING),
        (200, b"[]", Status.PROCESSING),
        (200, b"{", Status.PROCESSING),
        (200, b"\xff", Status.PROCESSING),
        (200, b"[" * 60_000, Status.PROCESSING),
        *((code, b"{}", Status.PROCESSING) for code in (0, 100, 202, 206, 301, 401, 403, 404, 408, 409, 429, 500, 503)),
    ],
)
def test_an_answer_sets_the_status(code, body, status):
    payout = make_payout()
    claimed = Payout.objects.claim(payout.pk, by="a test")
    answer = read(code, body)
    assert Payout.objects.finish(claimed, answer, by="a test", again_in=timedelta(seconds=1))
    payout.refresh_from_db()
    assert payout.status == status
