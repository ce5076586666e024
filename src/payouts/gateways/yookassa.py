"""
YooKassa pays roubles. Its rules: https://yookassa.ru/developers/payouts/basics

A repeated key is answered with the payout as it is now, for 24 hours. Notifications are not signed.
"""

import json
from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import quote
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest

from payouts.gateways import PENDING_SCHEDULE, absent, no_reference, refuse_unpayable, refused
from payouts.gateways.client import Client, Reply, basic, keys_at, part
from payouts.machine import Answer
from payouts.models import Payout

DESCRIPTION_MAX_LENGTH = 128
STATUSES = {"pending": "pending", "succeeded": "paid", "canceled": "refused"}
# Nothing was executed, and none of these is about the payout: it is sent again until somebody has mended it.
NOT_EXECUTED = {"invalid_credentials", "forbidden", "not_found", "too_many_requests"}


class YooKassaGateway:
    remembers = timedelta(hours=24)
    can_look = repeats_paid = True
    pending_schedule = PENDING_SCHEDULE

    def __init__(self, name: str) -> None:
        options = settings.PAYOUT_PROVIDERS[name]
        self.url = f"{options['url']}/v3/payouts"
        self.headers = [basic(options["user"], options["secret"])]
        self.client = Client()

    def pay(self, payout: Payout) -> Answer:
        if refusal := refuse_unpayable(payout):
            return refusal
        headers = [*self.headers, "Content-Type: application/json", f"Idempotence-Key: {payout.gateway_key}"]
        is_refusal = partial(refuses, payout)
        reply = self.client.send(payout, self.url, headers, json.dumps(body(payout)), is_refusal)
        if is_refusal(reply):
            return refused(str(reply.fields.get("description", "")), str(reply.fields["code"]))
        if part(reply.fields, "type") == "error" and reply.fields.get("code") in NOT_EXECUTED:
            return absent(f"{reply.fields['code']}: {reply.fields.get('description')}")
        return self._read(payout, reply)

    def look(self, payout: Payout) -> Answer:
        if not payout.gateway_reference:
            return no_reference(payout)
        url = f"{self.url}/{quote(payout.gateway_reference, safe='')}"
        return self._read(payout, self.client.call(payout, url, self.headers))

    def named(self, request: HttpRequest) -> Iterable[UUID]:
        return keys_at(request, ("object", "metadata", "key"))

    def _read(self, payout: Payout, reply: Reply) -> Answer:
        reason = part(reply.fields, "cancellation_details", "reason")
        answer = {
            "key": part(reply.fields, "metadata", "key"),
            "status": STATUSES.get(str(part(reply.fields, "status"))),
            "amount": part(reply.fields, "amount", "value"),
            "currency": part(reply.fields, "amount", "currency"),
            "reference": part(reply.fields, "id"),
            "reason": f"YooKassa: {reason}." if reason else "",
            "code": reason,
        }
        return self.client.read(payout, answer, f"HTTP {reply.code} {part(reply.fields, 'code') or ''}".strip())


def refuses(payout: Payout, reply: Reply) -> bool:
    """By its documentation nothing was executed, because of something in the request."""
    if part(reply.fields, "type") != "error" or reply.fields.get("code") != "invalid_request":
        return False
    # It has the key with another amount, as when a failover took back a correction. And a token is used up once it is
    # paid.
    says_nothing = {None, "", "Idempotence-Key"} | ({"payout_token"} if payout.was_asked_before else set())
    return reply.fields.get("parameter") not in says_nothing


def body(payout: Payout) -> dict[str, Any]:
    fields = {
        "amount": {"value": f"{payout.amount:.2f}", "currency": payout.currency},
        "metadata": {"key": str(payout.gateway_key)},
        **destination(payout.recipient_details),
    }
    if comment := " ".join(payout.comment.split()):
        fields["description"] = comment[:DESCRIPTION_MAX_LENGTH]
    return fields


def destination(details: dict[str, Any]) -> dict[str, Any]:
    match details["type"]:
        case "token":
            return {"payout_token": details["token"]}
        case "card":
            data = {"type": "bank_card", "card": {"number": details["number"]}}
        case "sbp":
            data = {"type": "sbp", "phone": details["phone"].removeprefix("+"), "bank_id": details["bank_id"]}
        case "yoomoney":
            data = {"type": "yoo_money", "account_number": details["account"]}
    return {"payout_destination_data": data}
