"""
PayPal pays dollars and euros. Its rules: https://developer.paypal.com/docs/api/payments.payouts-batch/v1/

A payout is a batch of one item. A repeated batch is refused with a link to the first one, for 30 days. Money that
nobody claims comes back after 30 days.
"""

import json
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest

from payouts.gateways import PENDING_SCHEDULE, absent, no_reference, refuse_unpayable, refused
from payouts.gateways.client import Reply, keys_at, part
from payouts.gateways.oauth import OAuthClient, Token
from payouts.machine import Answer
from payouts.models import Payout

PATH = "/v1/payments/payouts"
ITEM_KEY = ("payout_item", "sender_item_id")
BATCH_KEY = ("batch_header", "sender_batch_header", "sender_batch_id")
RECIPIENTS = {"email": "EMAIL", "phone": "PHONE", "paypal_id": "PAYPAL_ID"}
# Nothing in such a batch was processed.
REFUSED_BATCH = {"DENIED", "CANCELED"}
# Of an item; of a batch, if it does not tell of its item.
STATUSES = {
    **dict.fromkeys(REFUSED_BATCH, "refused"),
    "PROCESSING": "pending",
    "SUCCESS": "paid",
    "PENDING": "pending",
    "UNCLAIMED": "pending",
    "ONHOLD": "pending",
    "FAILED": "refused",
    "BLOCKED": "refused",
    "RETURNED": "returned",
    "REFUNDED": "returned",
    "REVERSED": "returned",
}
# What is wrong is in the request.
REFUSALS = {"INVALID_REQUEST", "VALIDATION_ERROR"}
# Nothing was executed, and none of these is about the payout: it is sent again until somebody has mended it.
NOT_EXECUTED = {
    "AUTHENTICATION_FAILURE",
    "AUTHORIZATION_ERROR",
    "INSUFFICIENT_FUNDS",
    "NOT_AUTHORIZED",
    "PERMISSION_DENIED",
    "RATE_LIMIT_REACHED",
    "REQUIRED_SCOPE_MISSING",
    "invalid_token",
}


class PayPalGateway:
    remembers = timedelta(days=30)
    can_look = repeats_paid = True
    pending_schedule = PENDING_SCHEDULE

    def __init__(self, name: str) -> None:
        options = settings.PAYOUT_PROVIDERS[name]
        self.url = f"{options['url']}{PATH}"
        self.client = OAuthClient(Token(f"{options['url']}/v1/oauth2/token", options["user"], options["secret"]))

    def pay(self, payout: Payout) -> Answer:
        if refusal := refuse_unpayable(payout):
            return refusal
        headers, body = ["Content-Type: application/json"], json.dumps(batch_of(payout))
        reply = self.client.send(payout, self.url, headers, body, refuses)
        if batch := first_batch(reply):
            return self._look_at(payout, batch)
        if refuses(reply):
            return refused(f"{reply.fields.get('message', '')} {issues(reply)}".strip(), error_name(reply))
        if error_name(reply) in NOT_EXECUTED:
            return absent(f"{error_name(reply)}: {reply.fields.get('message', '')}")
        return self._read(payout, reply)

    def look(self, payout: Payout) -> Answer:
        return self._look_at(payout, payout.gateway_reference) if payout.gateway_reference else no_reference(payout)

    def named(self, request: HttpRequest) -> Iterable[UUID]:
        return keys_at(request, ("resource", *ITEM_KEY), ("resource", "sender_batch_id"), ("resource", *BATCH_KEY))

    def _look_at(self, payout: Payout, batch: str) -> Answer:
        return self._read(payout, self.client.call(payout, f"{self.url}/{quote(batch, safe='')}", []))

    def _read(self, payout: Payout, reply: Reply) -> Answer:
        batch_status, batch = (part(reply.fields, "batch_header", name) for name in ("batch_status", "payout_batch_id"))
        items = [*filter(None, reply.fields.get("items") or [])]
        item = items[0] if len(items) == 1 else {}
        # A batch that was just taken lists no item, and one that is refused may list items that have no status.
        word = batch_status if batch_status in REFUSED_BATCH else part(item, "transaction_status") or batch_status
        code = part(item, "errors", "name") or word
        answer = {
            "key": part(item, *ITEM_KEY) or part(reply.fields, *BATCH_KEY),
            "status": STATUSES.get(str(word)),
            "amount": part(item, "payout_item", "amount", "value"),
            "currency": part(item, "payout_item", "amount", "currency"),
            "reference": batch,
            "reason": part(item, "errors", "message") or f"PayPal: {word}.",
            "code": code,
        }
        return self.client.read(payout, answer, f"HTTP {reply.code} {error_name(reply)}".strip())


def error_name(reply: Reply) -> str:
    return str(reply.fields.get("name") or reply.fields.get("error", ""))


def refuses(reply: Reply) -> bool:
    return error_name(reply) in REFUSALS and not first_batch(reply)


def first_batch(reply: Reply) -> str:
    """Where PayPal refuses a key because it has it already, its link leads to the batch of that key."""
    for link in reply.fields.get("links") or [] if reply.code == 400 else []:
        if match := re.fullmatch(rf".*{PATH}/([^/]+)", urlsplit(str(part(link, "href"))).path):
            return match[1]
    return ""


def issues(reply: Reply) -> str:
    details = reply.fields.get("details") or []
    return " ".join(f"{part(each, 'field')}: {part(each, 'issue')}." for each in details)


def batch_of(payout: Payout) -> dict[str, Any]:
    [(kind, receiver)] = (item for item in payout.recipient_details.items() if item[0] in RECIPIENTS)
    key = str(payout.gateway_key)
    item = {
        "recipient_type": RECIPIENTS[kind],
        "receiver": receiver,
        "amount": {"value": f"{payout.amount:.2f}", "currency": payout.currency},
        "sender_item_id": key,
    }
    if comment := " ".join(payout.comment.split()):
        item["note"] = comment
    return {"sender_batch_header": {"sender_batch_id": key}, "items": [item]}
