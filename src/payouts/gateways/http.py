"""The generic gateway: a company's own adapter or bank that is asked over HTTP. `docs/gateways.md` has its contract."""

import json
import logging
import ssl
import threading
from collections.abc import Callable, Iterable
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from hmac import compare_digest
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pycurl  # type: ignore[import-untyped]
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from payouts.gateways import PENDING_SCHEDULE, absent, paid, pending, refused, returned, unknown
from payouts.machine import Answer, Status
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


class HTTPGateway(threading.local):
    """
    Calls with libcurl, whose time-out covers the whole call: a dripping answer cannot outlive the lease.

    One object serves all threads, and each of them has a connection of its own.
    """

    pending_schedule = PENDING_SCHEDULE
    curl: pycurl.Curl = None

    def __init__(self, name: str) -> None:
        options = settings.PAYOUT_HTTP_GATEWAYS[name]
        self.url, self.lookup_url, self.token = options["url"], options["lookup_url"], options["token"]
        self.notification_token = options["notification_token"]
        self.remembers: timedelta = options["remembers"]
        self.timeout: float = options["timeout"]
        # Nobody promises that a repetition is answered as the first time. A look-up tells the truth.
        self.can_look = bool(self.lookup_url)
        # A crash that takes "paid" back takes the reference along.
        self.repeats_paid = "{key}" in self.lookup_url

    def pay(self, payout: Payout) -> Answer:
        names = ("amount", "currency", "recipient_details", "comment", "external_id")
        # Nothing in it may differ when the caller's repetition is sent in place of a row that was lost.
        request = {"key": payout.gateway_key, **{name: getattr(payout, name) for name in names}}
        headers = ["Content-Type: application/json", f"Idempotency-Key: {payout.gateway_key}"]
        body = json.dumps(request, default=str)
        return self._call(payout, self.url, headers, body, min(payout.deadline, payout.send_before))

    def look(self, payout: Payout) -> Answer:
        if not payout.gateway_reference and "{key}" not in self.lookup_url:
            # Nothing leads to it, as where nobody can look: while its key is remembered it may be sent again.
            why = "only its reference, which nobody knows, leads to it"
            return unknown(why) if payout.status == Status.COMPLETED else absent(why)
        values = {"key": str(payout.gateway_key), "reference": quote(payout.gateway_reference, safe="")}
        return self._call(payout, self.lookup_url.format(**values), [], None, payout.deadline)

    def named(self, request: HttpRequest) -> Iterable[UUID]:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not self.notification_token or not compare_digest(token.encode(), self.notification_token.encode()):
            raise PermissionDenied
        fields = read_object(request.body)
        if fields is None:
            raise ValueError
        keys = fields.get("keys", [fields.get("key")])
        return [uuid for key in keys if (uuid := read_uuid(key))] if isinstance(keys, list) else []

    def _call(self, payout: Payout, url: str, headers: list[str], body: str | None, until: float) -> Answer:
        if self.token:
            headers.append(f"Authorization: Bearer {self.token}")
        kept, curl = self.curl, self._connected()
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.HTTPHEADER, headers)
        curl.setopt(pycurl.HTTPGET, 1)
        if body is not None:
            curl.setopt(pycurl.POSTFIELDS, body)
        # Checked again immediately before anything is sent: this thread may have been frozen meanwhile.
        if clock() >= until:
            return absent("the time to send it was over") if body else unknown("the time to look was over")
        curl.setopt(pycurl.TIMEOUT_MS, max(1, int(1000 * (payout.deadline - clock()))))
        try:
            answer = curl.perform_rb()
        except pycurl.error as error:
            self.curl = None
            # On a kept connection libcurl may have sent the request, and have failed only when it connected anew.
            is_unsent = kept is not curl and nothing_left(curl, error.args[0])
            note = f"curl error {error.args[0]}: {error.args[1]}"
            return absent(note) if body is not None and is_unsent else unknown(note)
        return self._read(payout, curl.getinfo(pycurl.RESPONSE_CODE), answer)

    def _read(self, payout: Payout, code: int, body: bytes) -> Answer:
        fields = read_object(body)
        status = fields and fields.get("status")
        if not fields or not isinstance(status, str) or status not in READERS:
            return unknown(f"HTTP {code} without a status that we know")
        if fields.get("key") != str(payout.gateway_key) or not is_about(payout, fields, must_say=status == "paid"):
            # It may be the answer to another payout, as when one arrives twice on a kept connection.
            self.curl = None
            logger.error("an answer is about another payment", extra={"fields": {"payout": payout.pk}})
            return unknown("the answer is about another payment")
        words = {name: str(fields.get(name) or "") for name in ("reference", "reason", "code")}
        return READERS[status](words)

    def _connected(self) -> pycurl.Curl:
        # What comes unasked, such as an answer that is sent twice, would be read as the next payout's.
        if self.curl is None or (socket := self.curl.getinfo(pycurl.ACTIVESOCKET)) == -1 or has_unread_data(socket):
            self.curl = new_curl()
        return self.curl


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
