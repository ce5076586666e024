"""HTTP calls to a provider, and how its answers are read. Every gateway that speaks HTTP makes its calls here."""

import json
import logging
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple
from uuid import UUID

import pycurl  # type: ignore[import-untyped]
from django.http import HttpRequest

from payouts.gateways import CallError, absent, paid, pending, refused, returned, unknown
from payouts.machine import Answer
from payouts.models import Payout
from runtime.clock import clock
from runtime.curl import QUICK_EXIT
from runtime.messages import read_uuid
from runtime.sockets import has_unread_data

logger = logging.getLogger(__name__)

ANSWER_MAX_BYTES = 64 * 1024
CONNECT_SECONDS = 5
# Before the request can have left: the name was not found, the server not reached, its certificate not accepted.
NOTHING_SENT = {
    pycurl.E_COULDNT_RESOLVE_HOST,
    pycurl.E_COULDNT_RESOLVE_PROXY,
    pycurl.E_COULDNT_CONNECT,
    pycurl.E_SSL_CONNECT_ERROR,
    pycurl.E_PEER_FAILED_VERIFICATION,
}
READERS: dict[str, Callable[[dict[str, str]], Answer]] = {
    "paid": lambda words: paid(words["reference"]),
    "refused": lambda words: refused(words["reason"], words["code"], words["reference"]),
    "pending": lambda words: pending(words["reference"]),
    "absent": lambda words: absent(words["reason"] or "the provider never got it"),
    "returned": lambda words: returned(words["reason"], words["code"], words["reference"]),
}


class Reply(NamedTuple):
    code: int
    # The JSON object of its body. Empty if it has none.
    fields: dict[str, Any]


class Client(threading.local):
    """
    Calls with libcurl, whose time-out covers the whole call: a dripping answer cannot outlive the lease.

    One object serves all threads, and each of them has a connection of its own.
    """

    curl: pycurl.Curl = None

    def send(
        self,
        payout: Payout,
        url: str,
        headers: list[str],
        body: str,
        is_doubtful: Callable[[Reply], bool] | None = None,
    ) -> Reply:
        """
        Sends the payment, unless its key may no longer be sent.

        A doubtful answer would refuse it, and does not name its key: it may be meant for another payout. To the same
        key, sent once more on a connection of its own, the provider says the truth again.
        """
        until = min(payout.deadline, payout.send_before)
        reply = self.call(payout, url, headers, body, until=until)
        if is_doubtful and is_doubtful(reply):
            payout.was_doubted = True
            self.hang_up()
            reply = self.call(payout, url, headers, body, until=until)
        return reply

    def call(
        self, payout: Payout, url: str, headers: list[str], body: str | None = None, *, until: float | None = None
    ) -> Reply:
        """A GET, or a POST if there is a body. Raises CallError."""
        kept, curl = self.curl, self._connected()
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.HTTPHEADER, headers)
        curl.setopt(pycurl.HTTPGET, 1)
        if body is not None:
            curl.setopt(pycurl.POSTFIELDS, body)
        # Checked again immediately before anything is sent: this thread may have been frozen meanwhile.
        if clock() >= (payout.deadline if until is None else until):
            over = "the time to send it was over" if body else "the time to look was over"
            raise CallError(absent(over) if body else unknown(over))
        curl.setopt(pycurl.TIMEOUT_MS, max(1, int(1000 * (payout.deadline - clock()))))
        try:
            answer = curl.perform_rb()
        except pycurl.error as error:
            self.curl = None
            # On a kept connection libcurl may have sent the request, and have failed only when it connected anew.
            is_unsent = kept is not curl and nothing_left(curl, error.args[0])
            note = f"curl error {error.args[0]}: {error.args[1]}"
            raise CallError(absent(note) if body is not None and is_unsent else unknown(note)) from error
        if body is not None and kept is curl and curl.getinfo(pycurl.NUM_CONNECTS):
            # The kept connection was closed, and libcurl has sent it once more on another one.
            payout.was_doubted = True
        return Reply(curl.getinfo(pycurl.RESPONSE_CODE), read_object(answer) or {})

    def read(self, payout: Payout, fields: dict[str, Any], doubt: str) -> Answer:
        """Reads an answer in the words of docs/gateways.md. If it has no such status it is unknown, with this doubt."""
        status = fields.get("status")
        if not isinstance(status, str) or status not in READERS:
            return unknown(doubt)
        if fields.get("key") != str(payout.gateway_key) or not is_about(payout, fields, must_say=status == "paid"):
            # It may be the answer to another payout, as when one arrives twice on a kept connection.
            self.hang_up()
            logger.error("an answer is about another payment", extra={"fields": {"payout": payout.pk}})
            return unknown("the answer is about another payment")
        words = {name: str(fields.get(name) or "") for name in ("reference", "reason", "code")}
        return READERS[status](words)

    def hang_up(self) -> None:
        """The next call has a connection of its own, on which nothing can come but its answer."""
        self.curl = None

    def _connected(self) -> pycurl.Curl:
        # What comes unasked, such as an answer that is sent twice, would be read as the next payout's.
        if self.curl is None or (socket := self.curl.getinfo(pycurl.ACTIVESOCKET)) == -1 or has_unread_data(socket):
            self.curl = new_curl()
        return self.curl


def basic(user: str, password: str) -> str:
    """The header that says who calls."""
    return f"Authorization: Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


def part(fields: Any, *path: str) -> Any:
    """What is at the end of this path in an answer, or None."""
    for name in path:
        fields = fields.get(name) if isinstance(fields, dict) else None
    return fields


def keys_at(request: HttpRequest, *paths: tuple[str, ...]) -> list[UUID]:
    """
    The keys that a notification has at these paths.

    For notifications that nobody has signed: whoever knows a key, which is a secret, can have a worker look.
    """
    fields = read_object(request.body)
    if fields is None:
        raise ValueError
    return [*{key for path in paths if (key := read_uuid(part(fields, *path)))}]


def new_curl() -> pycurl.Curl:
    curl = pycurl.Curl()
    # Holds for an answer that does not state its length, too.
    curl.setopt(pycurl.MAXFILESIZE, ANSWER_MAX_BYTES)
    curl.setopt(pycurl.NOSIGNAL, 1)
    # A provider that does not even take the connection is away.
    curl.setopt(pycurl.CONNECTTIMEOUT, CONNECT_SECONDS)
    # Without this a name that is still looked up after the time-out holds up the next call until its lease is over.
    curl.setopt(QUICK_EXIT, 1)
    # libcurl reads no SSL_CERT_FILE, and the wheel's looks only where Red Hat keeps its authorities.
    if certificates := ssl.get_default_verify_paths().cafile:
        curl.setopt(pycurl.CAINFO, certificates)
    return curl


def nothing_left(curl: pycurl.Curl, number: int) -> bool:
    """The call ended before the request could leave, because the connection or its TLS was not there yet."""
    if number != pycurl.E_OPERATION_TIMEDOUT:
        return number in NOTHING_SENT
    is_tls = curl.getinfo(pycurl.EFFECTIVE_URL).startswith("https:")
    return not curl.getinfo(pycurl.APPCONNECT_TIME if is_tls else pycurl.CONNECT_TIME)


def read_object(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def is_about(payout: Payout, fields: dict[str, Any], *, must_say: bool) -> bool:
    """Amount and currency agree, as far as the answer names them."""
    for name in ("amount", "currency"):
        value = fields.get(name)
        if value is None:
            if must_say:
                return False
        elif not is_same(getattr(payout, name), value):
            return False
    return True


def is_same(ours: Any, theirs: Any) -> bool:
    if not isinstance(ours, Decimal):
        return bool(ours == theirs)
    try:
        return ours == Decimal(str(theirs))
    except InvalidOperation:
        return False
