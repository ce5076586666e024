"""YooKassa's payouts: https://yookassa.ru/developers/api#payout"""

import json
import re
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from tests.gateway import manners
from tests.gateway.behaviour import Behaviour
from tests.gateway.ledger import INVALID_NUMBER, Entry, Reply
from tests.gateway.wire import Call

NAME = "yookassa"
# What each kind of destination must have, and how that looks.
DESTINATIONS = {
    "bank_card": {"number": "[0-9]{16,19}"},
    "sbp": {"phone": "[0-9]{11,15}", "bank_id": "[0-9A-Za-z]{1,12}"},
    "yoo_money": {"account_number": "[0-9]{11,33}"},
}
MONEY = r"(?!0+\.00)[0-9]+\.[0-9]{2}"
STATUSES = {"pending": "pending", "paid": "succeeded", "refused": "canceled", "returned": "succeeded"}


def error(status: int, code: str, description: str, **others: str) -> Reply:
    return Reply(status, {"type": "error", "id": str(uuid4()), "code": code, "description": description, **others})


def wrong(parameter: str, description: str = "The parameter is wrong.") -> Reply:
    return error(400, "invalid_request", description, parameter=parameter)


UNKNOWN_CALLER = error(401, "invalid_credentials", "Basic authentication failed.")
# In these moods nothing is executed.
ERRORS = {
    "forbidden": error(403, "forbidden", "The gateway may not make this payout."),
    "credentials": UNKNOWN_CALLER,
    "too many": error(429, "too_many_requests", "Too many requests."),
    "internal": error(500, "internal_server_error", "Something is broken."),
}
# In these it is executed all the same.
HIDING_REPLIES = {**manners.HIDING_REPLIES, "500": error(500, "internal_server_error", "Something is broken.")}


def is_known(call: Call) -> bool:
    expected = f"Basic {b64encode(call.behaviour.token.encode()).decode()}"
    return not call.behaviour.token or call.headers["Authorization"] == expected


def read(call: Call) -> dict[str, Any] | Reply:
    if not is_known(call):
        return UNKNOWN_CALLER
    key = call.headers["Idempotence-Key"]
    if not key or len(key) > 64:
        return wrong("Idempotence-Key")
    try:
        request = json.loads(call.body)
        fault = fault_of(request)
    except (ValueError, KeyError, TypeError):
        return wrong("body", "The body is no payout.")
    data = request.get("payout_destination_data")
    return fault or {
        "key": key,
        "amount": request["amount"]["value"],
        "currency": request["amount"]["currency"],
        "recipient_details": flat(data) if data else {"type": "token", "token": request["payout_token"]},
        "comment": request.get("description", ""),
        "external_id": request.get("metadata", {}).get("key"),
    }


def fault_of(request: dict[str, Any]) -> Reply | None:
    amount, data = request["amount"], request.get("payout_destination_data")
    is_wrong = {
        "amount.value": not re.fullmatch(MONEY, amount["value"]),
        "amount.currency": amount["currency"] != "RUB",
        "description": len(request.get("description", "")) > 128,
        "payout_destination_data": bool(data) == bool(request.get("payout_token")),
        **(wrong_fields(data) if data else {}),
    }
    return next((wrong(name) for name in is_wrong if is_wrong[name]), None)


def wrong_fields(data: dict[str, Any]) -> dict[str, bool]:
    prefix, fields = "payout_destination_data", data["card"] if data["type"] == "bank_card" else data
    if data["type"] not in DESTINATIONS:
        return {f"{prefix}.type": True}
    patterns = DESTINATIONS[data["type"]].items()
    return {f"{prefix}.{name}": not re.fullmatch(pattern, fields.get(name, "")) for name, pattern in patterns}


def flat(data: dict[str, Any]) -> dict[str, Any]:
    """Its type and the fields of this type, wherever they are."""
    fields = {**data, **data.get("card", {})}
    return {name: fields[name] for name in ("type", *DESTINATIONS[data["type"]])}


def read_look(call: Call) -> dict[str, str] | Reply:
    return {"reference": call.path.rpartition("/")[2]} if is_known(call) else UNKNOWN_CALLER


def say(entry: Entry, behaviour: Behaviour) -> Reply:
    if entry.details.get("number") == INVALID_NUMBER:
        return wrong("payout_destination_data.card.number", "No such card.")
    return say_what_is(entry, behaviour)


def say_again(entry: Entry, request: dict[str, Any], behaviour: Behaviour) -> Reply:
    if (entry.amount, entry.details) != (request["amount"], request["recipient_details"]):
        return wrong("Idempotence-Key", "Idempotence key duplicated")
    return say(entry, behaviour)


def say_what_is(entry: Entry, behaviour: Behaviour) -> Reply:
    content = {
        "id": entry.reference,
        "amount": {"value": entry.amount, "currency": entry.currency},
        "status": STATUSES[entry.status],
        "payout_destination": destination(entry.details),
        "description": entry.comment,
        "created_at": format_time(entry.booked_at),
        # Its own words come back to whoever has sent them.
        "metadata": {"key": entry.external_id} if entry.external_id else {},
        "test": False,
    }
    if content["status"] == "succeeded":
        content["succeeded_at"] = format_time(entry.settled_at)
    if entry.status == "refused":
        content["cancellation_details"] = {"party": "yoo_money", "reason": behaviour.reason or "general_decline"}
    return Reply(200, content)


def format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def destination(details: dict[str, Any]) -> dict[str, Any]:
    if details["type"] in ("bank_card", "token"):
        number = details.get("number", "4" * 16)
        card = {"first6": number[:6], "last4": number[-4:], "card_type": "Visa"}
        return {"type": "bank_card", "card": card}
    if details["type"] == "sbp":
        return {**details, "recipient_checked": False}
    return details


def say_absent(names: dict[str, str]) -> Reply:
    return error(404, "not_found", "There is no such payout.", parameter="payout_id")


def signature(token: str) -> dict[str, str]:
    """It signs nothing."""
    return {}


def notification(entry: Entry, behaviour: Behaviour) -> dict[str, Any]:
    payout = say_what_is(entry, behaviour).content
    return {"type": "notification", "event": f"payout.{payout['status']}", "object": payout}
