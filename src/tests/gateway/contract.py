"""The contract of the generic HTTP gateway, as docs/gateways.md has it."""

import json
from typing import Any

from tests.gateway import manners
from tests.gateway.behaviour import Behaviour
from tests.gateway.ledger import Entry, Reply
from tests.gateway.wire import Call

NAME = "contract"
# It has no errors of its own.
ERRORS: dict[str, Reply] = {}
HIDING_REPLIES = manners.HIDING_REPLIES
FIELDS = {"key", "amount", "currency", "recipient_details", "comment", "external_id"}
CODES = {"paid": 201, "refused": 402, "pending": 202, "returned": 200}


def is_known(call: Call) -> bool:
    token = call.behaviour.token
    return not token or call.headers["Authorization"] == f"Bearer {token}"


def read(call: Call) -> dict[str, Any] | Reply:
    """The payment that is asked for."""
    if not is_known(call):
        return Reply(401, {"detail": "who are you?"})
    request = json.loads(call.body)
    is_json = call.headers["Content-Type"] == "application/json"
    if not is_json or request.keys() != FIELDS or request["key"] != call.headers["Idempotency-Key"]:
        return Reply(422, {"detail": "not as the contract says, and not booked"})
    return dict(request)


def read_look(call: Call) -> dict[str, str] | Reply:
    """The key or the reference that is looked for."""
    return call.query if is_known(call) else Reply(401, {"detail": "who are you?"})


def say(entry: Entry, behaviour: Behaviour) -> Reply:
    reply = say_what_is(entry, behaviour)
    if behaviour.manner == "success-false":
        is_paid = reply.content["status"] == "paid"
        return Reply(200, {"Success": is_paid, "Message": reply.content.get("reason"), "Model": {"Id": entry.key}})
    return reply


def say_again(entry: Entry, request: dict[str, Any], behaviour: Behaviour) -> Reply:
    """Answers a repetition."""
    match behaviour.manner:
        case "first-answer":
            assert entry.first_reply
            return entry.first_reply
        case "duplicate-400":
            return Reply(400, {"error": "duplicate", "detail": "This key was used before.", "key": entry.key})
        case "duplicate-409":
            return Reply(409, say_what_is(entry, behaviour).content)
    return say(entry, behaviour)


def say_what_is(entry: Entry, behaviour: Behaviour) -> Reply:
    status = entry.status
    content = {
        "key": entry.key,
        "status": status,
        "amount": entry.amount,
        "currency": entry.currency,
        "reference": entry.reference,
    }
    if status == "refused":
        content |= {"reason": f"The card {entry.details.get('number')} is refused.", "code": "card_refused"}
    if status == "returned":
        content |= {"reason": "The account is closed.", "code": "account_closed"}
    return Reply(CODES[status], content)


def say_absent(names: dict[str, str]) -> Reply:
    return Reply(404, {"key": names.get("key"), "status": "absent"})


def signature(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def notification(entry: Entry, behaviour: Behaviour) -> dict[str, Any]:
    return {"key": entry.key}
