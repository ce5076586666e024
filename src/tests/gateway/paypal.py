"""PayPal's payouts, by the specification that it publishes: https://developer.paypal.com/docs/api/payments.payouts-batch/v1/"""

import json
import re
import time
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

from tests.gateway import manners
from tests.gateway.behaviour import Behaviour
from tests.gateway.ledger import INVALID_RECEIVER, Entry, Reply
from tests.gateway.wire import Call

NAME = "paypal"
PATH = "/v1/payments/payouts"
CURRENCIES = ("USD", "EUR", "GBP")
RECEIVERS = {"EMAIL": r"\S+@\S+", "PHONE": r"\+?[0-9-]{7,20}", "PAYPAL_ID": "[0-9A-Z]{13}"}
MONEY = r"(?!0+(\.0+)?$)[0-9]+(\.[0-9]{1,2})?"
STATUSES = {"pending": "PENDING", "paid": "SUCCESS", "refused": "FAILED", "returned": "RETURNED"}
# What it says of a token; some of these die much earlier.
TOKEN_SECONDS = 32400


def error(status: int, name: str, message: str, **others: Any) -> Reply:
    return Reply(status, {"name": name, "message": message, "debug_id": uuid4().hex[:13], **others})


DEAD_TOKEN = Reply(401, {"error": "invalid_token", "error_description": "Token signature verification failed"})
# In these moods nothing is executed.
ERRORS = {
    "forbidden": error(403, "NOT_AUTHORIZED", "Authorization failed due to insufficient permissions."),
    "credentials": error(401, "AUTHENTICATION_FAILURE", "Authentication failed."),
    "too many": error(429, "RATE_LIMIT_REACHED", "Too many requests. Blocked due to rate limiting."),
    "internal": error(500, "INTERNAL_SERVER_ERROR", "An internal server error occurred."),
    "funds": error(422, "INSUFFICIENT_FUNDS", "Sender does not have sufficient funds."),
}
# In these it is executed all the same.
HIDING_REPLIES = {
    **manners.HIDING_REPLIES,
    "500": error(500, "INTERNAL_SERVER_ERROR", "An internal server error occurred."),
}


def give_token(call: Call) -> Reply:
    expected = f"Basic {b64encode(call.behaviour.token.encode()).decode()}"
    if call.behaviour.token and call.headers["Authorization"] != expected:
        return Reply(401, {"error": "invalid_client", "error_description": "Client Authentication failed"})
    if parse_qs(call.body.decode()) != {"grant_type": ["client_credentials"]}:
        return Reply(400, {"error": "unsupported_grant_type", "error_description": "Unsupported grant_type"})
    token = f"A21AA{uuid4().hex}"
    call.ledger.tokens[token] = time.time() + (call.behaviour.token_seconds or TOKEN_SECONDS)
    scope = "https://uri.paypal.com/payments/payouts"
    content = {"scope": scope, "access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS}
    return Reply(200, {**content, "app_id": "APP-80W284485P519543T", "nonce": uuid4().hex})


def is_known(call: Call) -> bool:
    token = str(call.headers["Authorization"]).removeprefix("Bearer ")
    return call.ledger.tokens.get(token, 0) > time.time()


def read(call: Call) -> dict[str, Any] | Reply:
    if call.path == "/v1/oauth2/token":
        return give_token(call)
    if not is_known(call):
        return DEAD_TOKEN
    try:
        request = json.loads(call.body)
        # It takes batches of many. We send each payout by itself.
        [item] = request["items"]
        key, fault = request["sender_batch_header"]["sender_batch_id"], fault_of(item)
    except (ValueError, KeyError, TypeError):
        return invalid("body")
    return fault or {
        "key": key,
        "amount": item["amount"]["value"],
        "currency": item["amount"]["currency"],
        "recipient_details": {name: item[name] for name in ("recipient_type", "receiver")},
        "comment": item.get("note", ""),
        "external_id": item["sender_item_id"],
    }


def fault_of(item: dict[str, Any]) -> Reply | None:
    if not re.fullmatch(RECEIVERS.get(item["recipient_type"], ""), item["receiver"]):
        return invalid("items[0].receiver")
    if not re.fullmatch(MONEY, item["amount"]["value"]):
        return invalid("items[0].amount.value")
    if item["amount"]["currency"] not in CURRENCIES:
        return invalid("items[0].amount.currency")
    return None if len(item["sender_item_id"]) <= 63 else invalid("items[0].sender_item_id")


def invalid(field: str) -> Reply:
    details = [{"field": field, "location": "body", "issue": "Value is invalid"}]
    return error(400, "VALIDATION_ERROR", "Invalid request - see details", details=details)


def read_look(call: Call) -> dict[str, str] | Reply:
    return {"reference": call.path.rpartition("/")[2]} if is_known(call) else DEAD_TOKEN


def header(entry: Entry, status: str) -> dict[str, Any]:
    sender = {"sender_batch_id": entry.key}
    return {"payout_batch_id": entry.reference, "batch_status": status, "sender_batch_header": sender}


def link(entry: Entry) -> dict[str, str]:
    return {"href": f"https://api-m.paypal.com{PATH}/{entry.reference}", "rel": "self", "method": "GET"}


def say(entry: Entry, behaviour: Behaviour) -> Reply:
    """It takes each batch, and says later what became of it."""
    if entry.details["receiver"] == INVALID_RECEIVER:
        return invalid("items[0].receiver")
    return Reply(201, {"batch_header": header(entry, "PENDING"), "links": [link(entry)]})


def say_again(entry: Entry, request: dict[str, Any], behaviour: Behaviour) -> Reply:
    if entry.details["receiver"] == INVALID_RECEIVER:
        return invalid("items[0].receiver")
    issue = "Batch with given sender_batch_id already exists"
    details = [{"field": "SENDER_BATCH_ID", "location": "body", "issue": issue}]
    return error(400, "USER_BUSINESS_ERROR", "User business error.", details=details, links=[link(entry)])


def say_what_is(entry: Entry, behaviour: Behaviour) -> Reply:
    if entry.status == "refused" and behaviour.denies:
        return Reply(200, {"batch_header": header(entry, "DENIED"), "links": [link(entry)]})
    status = "PROCESSING" if entry.status == "pending" else "SUCCESS"
    amount = {"currency": entry.currency, "value": entry.amount}
    batch = {**header(entry, status), "amount": amount, "fees": {"currency": entry.currency, "value": "0.25"}}
    return Reply(200, {"batch_header": batch, "items": [item(entry, behaviour)], "links": [link(entry)]})


def format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def item(entry: Entry, behaviour: Behaviour) -> dict[str, Any]:
    status = behaviour.words.get(entry.status, STATUSES[entry.status])
    content = {
        "payout_item_id": f"item-{entry.key[-12:]}",
        "transaction_id": f"tr-{entry.key[-12:]}",
        "transaction_status": status,
        "payout_batch_id": entry.reference,
        "payout_item_fee": {"currency": entry.currency, "value": "0.25"},
        "payout_item": {
            **entry.details,
            "amount": {"currency": entry.currency, "value": entry.amount},
            "note": entry.comment,
            "sender_item_id": entry.external_id,
        },
        "time_processed": format_time(entry.booked_at),
    }
    if entry.status == "refused":
        name = behaviour.reason or "RECEIVER_UNCONFIRMED"
        content["errors"] = error(0, name, "The receiver cannot take it.").content
    return content


def say_absent(names: dict[str, str]) -> Reply:
    return error(404, "RESOURCE_NOT_FOUND", "The specified resource does not exist.")


def signature(token: str) -> dict[str, str]:
    """It signs with a certificate. The service trusts none of this."""
    return {
        "PAYPAL-TRANSMISSION-ID": str(uuid4()),
        "PAYPAL-TRANSMISSION-TIME": format_time(time.time()),
        "PAYPAL-TRANSMISSION-SIG": b64encode(uuid4().bytes).decode(),
        "PAYPAL-CERT-URL": "https://api.paypal.com/v1/notifications/certs/CERT-1",
        "PAYPAL-AUTH-ALGO": "SHA256withRSA",
    }


def notification(entry: Entry, behaviour: Behaviour) -> dict[str, Any]:
    resource = {**item(entry, behaviour), "sender_batch_id": entry.key}
    event = {"SUCCESS": "SUCCEEDED"}.get(resource["transaction_status"], resource["transaction_status"])
    return {
        "id": f"WH-{uuid4()}",
        "event_version": "1.0",
        "create_time": format_time(time.time()),
        "resource_type": "payouts_item",
        "event_type": f"PAYMENT.PAYOUTS-ITEM.{event}",
        "summary": f"An item of a payout is {event}.",
        "resource": resource,
    }
