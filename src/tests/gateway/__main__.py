"""
The reference gateway: a process that keeps a ledger by idempotency key, and misbehaves on demand.

    python -m tests.gateway PORT [CERTIFICATE]

`PUT /modes` takes the names of modes. Each request gets one of them at random, or the mode that its payout's details
name. `GET /ledger` answers what was booked.
"""

import json
import random
import ssl
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REFUSED_NUMBER = "4000000000000002"
HANG_SECONDS = 60
SLOW_SECONDS = (0.1, 1.5)


@dataclass
class Entry:
    key: str
    payout: str
    amount: str
    currency: str
    details: dict[str, Any]
    comment: str
    caller: str | None
    paid: bool
    calls: int = 0


class Gateway(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    # The answers in those modes that pay and then do not say so.
    HIDING_CODES = {"500": 500, "401": 401, "409": 409, "202": 202, "429": 429, "302": 302}

    def __init__(self, port: str, *certificate: str) -> None:
        super().__init__(("127.0.0.1", int(port)), Handler)
        if certificate:
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(*certificate)
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.lock = threading.Lock()
        self.ledger: dict[str, Entry] = {}
        self.modes = ["ok"]

    def book(self, key: str, caller: str | None, request: dict[str, Any], *, refuse: bool) -> Entry:
        """Books a key once. Each later call with the same key gets the same entry."""
        with self.lock:
            if key not in self.ledger:
                details = request["recipient_details"]
                refuse = refuse or details.get("number") == REFUSED_NUMBER
                money = request["amount"], request["currency"]
                self.ledger[key] = Entry(key, request["id"], *money, details, request["comment"], caller, not refuse)
            self.ledger[key].calls += 1
            return self.ledger[key]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gateway

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        with self.server.lock:
            self.answer(200, [asdict(entry) for entry in self.server.ledger.values()])

    def do_PUT(self) -> None:
        self.server.modes = self.body()
        self.answer(200, {})

    def do_POST(self) -> None:
        request, key = self.body(), self.headers["Idempotency-Key"]
        mode = request["recipient_details"].get("mode") or random.choice(self.server.modes)
        if self.headers["Content-Type"] != "application/json":
            return self.answer(415, {"detail": "not JSON, and not booked"})
        if mode == "broken":
            return self.answer(503, {"detail": "not paid, and not booked"})
        if mode == "slow":
            time.sleep(random.uniform(*SLOW_SECONDS))
        entry = self.server.book(key, self.headers["Authorization"], request, refuse=mode == "refuse")
        if mode in Gateway.HIDING_CODES:
            return self.answer(Gateway.HIDING_CODES[mode], {"detail": "it is booked all the same"})
        return self.answer_in_mode(mode, entry, request)

    def answer_in_mode(self, mode: str, entry: Entry, request: dict[str, Any]) -> None:
        match mode:
            case "hang":
                time.sleep(HANG_SECONDS)
                self.close_connection = True
            case "drop":
                self.close_connection = True
            case "twice":
                self.answer(201, {"reference": "once"})
                time.sleep(0.05)
                self.answer(201, {"reference": "twice"})
            case "drip":
                self.drip()
            case "page":
                self.answer(200, "<html>The proxy is being maintained</html>")
            case "long":
                self.answer(200, "{}" + " " * 64 * 1024)
            case _ if entry.paid:
                self.answer(201, {"reference": f"ref-{entry.payout[-12:]}"})
            case _:
                self.answer(402, {"reason": f"The card {request['recipient_details'].get('number')} is refused."})

    def body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, code: int, content: Any) -> None:
        body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        if code == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(body)

    def drip(self) -> None:
        self.send_response(201)
        self.send_header("Content-Length", str(HANG_SECONDS))
        self.end_headers()
        with suppress(OSError):
            for _second in range(HANG_SECONDS):
                self.wfile.write(b" ")
                time.sleep(1)
        self.close_connection = True


if __name__ == "__main__":
    Gateway(*sys.argv[1:]).serve_forever()
