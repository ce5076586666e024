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

from tests.gateway import manners
from tests.gateway.behaviour import Behaviour
from tests.gateway.languages import language_of
from tests.gateway.ledger import Ledger, Reply
from tests.gateway.notifications import Notifier
from tests.gateway.wire import Call

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
            self.server.behaviour = self.server.behaviour.changed(json.loads(self.call().body))
        except ValueError as error:
            return self.answer(Reply(400, {"detail": str(error)}))
        return self.answer(Reply(200, {}))

    def do_GET(self) -> None:
        call = self.call()
        if call.path == "/ledger":
            return self.answer(Reply(200, self.server.ledger.as_json()))
        language = language_of(call.path)
        names = language.read_look(call)
        if isinstance(names, Reply):
            return self.answer(names)
        mood = random.choice(call.behaviour.moods)
        if mood == "broken":
            return self.answer(Reply(503, {"detail": "cannot look"}))
        reply = language.ERRORS.get(mood) or manners.look(language, names, call, mood)
        return self.answer_in_mood(mood, reply)

    def do_POST(self) -> None:
        call = self.call()
        language = language_of(call.path)
        request = language.read(call)
        if isinstance(request, Reply):
            return self.answer(request)
        mood = request["recipient_details"].get("mood") or random.choice(call.behaviour.moods)
        if mood == "broken":
            return self.answer(Reply(503, {"detail": "not paid, and not booked"}))
        if mood == "slow":
            time.sleep(random.uniform(*SLOW_SECONDS))
        reply = language.ERRORS.get(mood) or manners.pay(language, request, call, mood)
        return self.answer_in_mood(mood, reply)

    def call(self) -> Call:
        url, length = urlsplit(self.path), int(self.headers["Content-Length"] or 0)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        body = self.rfile.read(length)
        return Call(url.path, query, self.headers, body, self.server.behaviour, self.server.ledger)

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
                # An error of a real provider names no payment, so nobody could know whose it is.
                self.answer(self.server.exchange(reply) if reply.code < 400 or "key" in reply.content else reply)
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
    replies = {
        "page": Reply(200, "<html>The proxy is being maintained</html>"),
        "long": Reply(200, json.dumps(reply.content) + " " * 64 * 1024),
        "empty": Reply(200, ""),
        "proxy": Reply(400, {"status": 400, "error": "Bad Request", "message": "upstream"}),
    }
    return replies.get(mood, reply)
