"""Gateways of a company's own, which a route names by their dotted path."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied

from payouts.gateways import paid, unknown
from payouts.gateways.http import HTTPGateway

BANK = f"{__name__}.Bank"
OTHER_BANK = f"{__name__}.OtherBank"
SLOW_HTTP = f"{__name__}.SlowHTTP"


class HalfABank:
    """It cannot look, and does not say so."""

    remembers = timedelta(days=1)

    def __init__(self, name):
        self.name = name

    def pay(self, payout):
        return paid()


class Bank:
    """Answers what a test has told it to answer, and keeps what it was asked."""

    remembers = timedelta(days=1)
    can_look = True
    repeats_paid = False
    pending_schedule = tuple(timedelta(seconds=seconds) for seconds in (5, 15, 60))

    def __init__(self, name):
        self.name = name
        self.pay_answer, self.look_answer = paid("ref-1"), unknown("the bank does not say")
        # The keys that it was asked about.
        self.pays: list[UUID] = []
        self.looks: list[UUID] = []
        self.deadlines: list[float] = []

    def pay(self, payout):
        self.pays.append(payout.gateway_key)
        self.deadlines.append(payout.deadline)
        return self.pay_answer

    def look(self, payout):
        self.looks.append(payout.gateway_key)
        self.deadlines.append(payout.deadline)
        return self.look_answer

    def named(self, request):
        raise PermissionDenied


class OtherBank(Bank):
    pass


class SlowHTTP(HTTPGateway):
    """Is frozen for a while just before it sends."""

    freeze: Any = None

    def pay(self, payout):
        self.freeze()
        return super().pay(payout)


def http_options(url: str, **options: Any) -> dict[str, Any]:
    """What the settings know of an HTTP gateway."""
    defaults = {"token": "", "lookup_url": "", "notification_token": "", "remembers": timedelta(days=1), "timeout": 2.0}
    return {"url": url, **defaults, **options}


@contextmanager
def http_server() -> Iterator[Any]:
    """Yields a server with its `url`. It keeps the `bodies` that it got, and sends its `answer`, a code and a body."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.bodies.append(body)
            code, answer = server.answer
            content = answer if isinstance(answer, bytes) else json.dumps({"key": body["key"], **answer}).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_args: Any) -> None:
            pass

    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url, server.bodies = f"http://127.0.0.1:{server.server_port}/", []
    server.answer = 200, {"status": "paid", "amount": "100.50", "currency": "RUB", "reference": "ref-1"}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
