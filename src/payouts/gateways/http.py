"""The generic gateway: a company's own adapter or bank that is asked over HTTP."""

import json
import ssl
import threading
from typing import Any

import pycurl  # type: ignore[import-untyped]
from django.conf import settings

from payouts.gateways import paid, refused, unknown
from payouts.machine import Answer
from payouts.models import Payout
from runtime.curl import QUICK_EXIT
from runtime.sockets import has_unread_data

ANSWER_MAX_BYTES = 64 * 1024
PAID_CODES = (200, 201, 204)
REFUSED_CODES = (400, 402, 422)


class HTTPGateway(threading.local):
    """
    Calls with libcurl, whose time-out covers the whole call: a dripping answer cannot outlive the lease.

    One object serves all threads, and each of them has a connection of its own.
    """

    curl: pycurl.Curl = None

    def pay(self, payout: Payout) -> Answer:
        names = ("amount", "currency", "recipient_details", "comment")
        request = {"id": payout.pk, **{name: getattr(payout, name) for name in names}}
        headers = ["Content-Type: application/json", f"Idempotency-Key: {payout.key}"]
        if settings.PAYOUT_GATEWAY_TOKEN:
            headers.append(f"Authorization: Bearer {settings.PAYOUT_GATEWAY_TOKEN}")
        curl = self._connected()
        curl.setopt(pycurl.HTTPHEADER, headers)
        curl.setopt(pycurl.POSTFIELDS, json.dumps(request, default=str))
        try:
            body = curl.perform_rb()
        except pycurl.error as error:
            return unknown(f"curl error {error.args[0]}: {error.args[1]}")
        return read(curl.getinfo(pycurl.RESPONSE_CODE), body)

    def _connected(self) -> pycurl.Curl:
        # What comes unasked, such as an answer that is sent twice, would be read as the next payout's.
        if self.curl is None or (socket := self.curl.getinfo(pycurl.ACTIVESOCKET)) == -1 or has_unread_data(socket):
            self.curl = new_curl()
        return self.curl


def new_curl() -> pycurl.Curl:
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, settings.PAYOUT_GATEWAY_URL)
    curl.setopt(pycurl.TIMEOUT_MS, int(settings.PAYOUT_GATEWAY_TIMEOUT * 1000))
    # Holds for an answer that does not state its length, too.
    curl.setopt(pycurl.MAXFILESIZE, ANSWER_MAX_BYTES)
    curl.setopt(pycurl.NOSIGNAL, 1)
    # Without this a name that is still looked up after the time-out holds up the next call until its lease is over.
    curl.setopt(QUICK_EXIT, 1)
    # libcurl reads no SSL_CERT_FILE, and the wheel's looks only where Red Hat keeps its authorities.
    if certificates := ssl.get_default_verify_paths().cafile:
        curl.setopt(pycurl.CAINFO, certificates)
    return curl


def read(code: int, body: bytes) -> Answer:
    if code not in (*PAID_CODES, *REFUSED_CODES):
        return unknown(f"HTTP {code}")
    fields = read_object(body)
    # A proxy in between can answer 200 or 400 too, but not with a JSON object.
    if fields is None:
        return unknown(f"HTTP {code} with a broken answer")
    if code in REFUSED_CODES:
        reason = fields.get("reason") or fields.get("detail")
        return refused(reason if isinstance(reason, str) else f"HTTP {code}")
    reference = fields.get("reference", "")
    return paid(str(reference) if isinstance(reference, str | int) else "")


def read_object(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
