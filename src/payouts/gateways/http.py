"""The generic gateway: a company's own adapter or bank that is asked over HTTP. `docs/gateways.md` has its contract."""

import json
from collections.abc import Iterable
from datetime import timedelta
from hmac import compare_digest
from urllib.parse import quote
from uuid import UUID

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from payouts.gateways import PENDING_SCHEDULE, no_reference
from payouts.gateways.client import Client, Reply, read_object
from payouts.machine import Answer
from payouts.models import Payout
from runtime.messages import read_uuid


class HTTPGateway:
    pending_schedule = PENDING_SCHEDULE

    def __init__(self, name: str) -> None:
        options = settings.PAYOUT_HTTP_GATEWAYS[name]
        self.url, self.lookup_url = options["url"], options["lookup_url"]
        self.headers = [f"Authorization: Bearer {options['token']}"] if options["token"] else []
        self.notification_token = options["notification_token"]
        self.remembers: timedelta = options["remembers"]
        self.timeout: float = options["timeout"]
        # Nobody promises that a repetition is answered as the first time. A look-up tells the truth.
        self.can_look = bool(self.lookup_url)
        # A crash that takes "paid" back takes the reference along.
        self.repeats_paid = "{key}" in self.lookup_url
        self.client = Client()

    def pay(self, payout: Payout) -> Answer:
        names = ("amount", "currency", "recipient_details", "comment", "external_id")
        # Nothing in it may differ when the caller's repetition is sent in place of a row that was lost.
        request = {"key": payout.gateway_key, **{name: getattr(payout, name) for name in names}}
        headers = [*self.headers, "Content-Type: application/json", f"Idempotency-Key: {payout.gateway_key}"]
        return self._read(payout, self.client.send(payout, self.url, headers, json.dumps(request, default=str)))

    def look(self, payout: Payout) -> Answer:
        if not payout.gateway_reference and "{key}" not in self.lookup_url:
            return no_reference(payout)
        values = {"key": str(payout.gateway_key), "reference": quote(payout.gateway_reference, safe="")}
        return self._read(payout, self.client.call(payout, self.lookup_url.format(**values), self.headers))

    def named(self, request: HttpRequest) -> Iterable[UUID]:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not self.notification_token or not compare_digest(token.encode(), self.notification_token.encode()):
            raise PermissionDenied
        fields = read_object(request.body)
        if fields is None:
            raise ValueError
        keys = fields.get("keys", [fields.get("key")])
        return [uuid for key in keys if (uuid := read_uuid(key))] if isinstance(keys, list) else []

    def _read(self, payout: Payout, reply: Reply) -> Answer:
        return self.client.read(payout, reply.fields, f"HTTP {reply.code} without a status that we know")
