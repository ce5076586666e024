"""The reference gateway on the wire, with the ways in which an answer goes wrong."""

import json
import random
import ssl
import sys
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from tests.gateway import manners
from tests.gateway.behaviour import Behaviour
from tests.gateway.ledger import Ledger, Reply
from tests.gateway.notifications import Notifier

FIELDS = {"key", "amount", "currency", "recipient_details", "comment", "external_id"}
HANG_SECONDS = 60
SLOW_SECONDS = (0.1, 1.5)
# The second copy of an answer comes so much later: before the next request, or after it.
COPY_SECONDS = (0, 0.3)


class Gateway(ThreadingHTTPServer):
    daemon_threads = True
    # Hundreds of calls wait here while it is frozen.
    request_queue_size = 512

    def __init__(self, port: str, *certificate: str) -> None:
        super().__init__(("127.0.0.1", int(port)), Handler)
        if certificate:
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(*certificate)
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.behaviour = Behaviour()
        notifier = Notifier()
        notifier.start()
        self.ledger = Ledger(notifier.plan)
        self.lock = threading.Lock()
        self.last_reply = Reply(200, {})

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is killed or that gives up is none of our errors."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def exchange(self, reply: Reply) -> Reply:
        """Keeps this answer for the next call, and gives the one that was kept."""
        with self.lock:
            last, self.last_reply = self.last_reply, reply
        return last


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gateway

    def log_message(self, *args: Any) -> None:
        pass

    def do_PUT(self) -> None:
        try:
            self.server.behaviour = self.server.behaviour.changed(self.body())
        except ValueError as error:
            return self.answer(Reply(400, {"detail": str(error)}))
        return self.answer(Reply(200, {}))

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/ledger":
            return self.answer(Reply(200, self.server.ledger.as_json()))
        if not self.is_known():
            return self.answer(Reply(401, {"detail": "who are you?"}))
        mood = random.choice(self.server.behaviour.moods)
        if mood == "broken":
            return self.answer(Reply(503, {"detail": "cannot look"}))
        names = {name: values[0] for name, values in parse_qs(url.query).items()}
        reply = manners.look(self.server.ledger, names, self.server.behaviour)
        return self.answer_in_mood(mood, manners.HIDING_REPLIES.get(mood, reply))

    def do_POST(self) -> None:
        request, behaviour = self.body(), self.server.behaviour
        if not self.is_known():
            return self.answer(Reply(401, {"detail": "who are you?"}))
        is_json = self.headers["Content-Type"] == "application/json"
        if not is_json or request.keys() != FIELDS or request["key"] != self.headers["Idempotency-Key"]:
            return self.answer(Reply(422, {"detail": "not as the contract says, and not booked"}))
        mood = request["recipient_details"].get("mood") or random.choice(behaviour.moods)
        if mood == "broken":
            return self.answer(Reply(503, {"detail": "not paid, and not booked"}))
        if mood == "slow":
            time.sleep(random.uniform(*SLOW_SECONDS))
        reply = manners.pay(self.server.ledger, request, self.headers["Authorization"], behaviour, mood)
        return self.answer_in_mood(mood, reply)

    def is_known(self) -> bool:
        token = self.server.behaviour.token
        return not token or self.headers["Authorization"] == f"Bearer {token}"

    def body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def answer_in_mood(self, mood: str, reply: Reply) -> None:
        match mood:
            case "hang":
                time.sleep(HANG_SECONDS)
                self.close_connection = True
            case "drop":
                self.close_connection = True
            case "drip":
                self.drip()
            case "twice":
                self.answer(reply)
                time.sleep(random.uniform(*COPY_SECONDS))
                self.answer(reply)
            case "cut":
                self.answer(reply, missing=20)
                self.close_connection = True
            case "half":
                self.answer(Reply(reply.code, json.dumps(reply.content)[:-20]))
            case "exchange":
                self.answer(self.server.exchange(reply))
            case _:
                self.answer(spoiled(mood, reply))

    def answer(self, reply: Reply, missing: int = 0) -> None:
        """Sends all of it at once: in two parts the second would wait for the client's word on the first."""
        text = reply.content if isinstance(reply.content, str) else json.dumps(reply.content)
        lines = [f"HTTP/1.1 {reply.code} {HTTPStatus(reply.code).phrase}", f"Content-Length: {len(text) + missing}"]
        if reply.code == 302:
            lines.append("Location: /elsewhere")
        # The client may have gone.
        with suppress(OSError):
            self.wfile.write("\r\n".join([*lines, "", text]).encode())

    def drip(self) -> None:
        self.send_response(201)
        self.send_header("Content-Length", str(HANG_SECONDS))
        with suppress(OSError):
            self.end_headers()
            for _second in range(HANG_SECONDS):
                self.wfile.write(b" ")
                time.sleep(1)
        self.close_connection = True


def spoiled(mood: str, reply: Reply) -> Reply:
    """The same answer, unless the mood says something else."""
    paid = {"currency": "RUB", **reply.content, "status": "paid"}
    replies = {
        "page": Reply(200, "<html>The proxy is being maintained</html>"),
        "long": Reply(200, json.dumps(reply.content) + " " * 64 * 1024),
        "empty": Reply(200, ""),
        "proxy": Reply(400, {"status": 400, "error": "Bad Request", "message": "upstream"}),
        "other key": Reply(201, {**paid, "key": str(uuid4())}),
        "other amount": Reply(201, {**paid, "amount": "0.00"}),
    }
    return replies.get(mood, reply)
