"""What each kind of provider answers to a payment and to a look-up."""

from typing import Any

from tests.gateway.behaviour import Behaviour
from tests.gateway.ledger import Entry, Ledger, Reply

# What it answers in those moods in which it books, and then says nothing of it.
HIDING_REPLIES = {
    code: Reply(int(code), {"detail": "it may be booked all the same"})
    for code in ("500", "401", "409", "202", "429", "302")
}


def pay(ledger: Ledger, request: dict[str, Any], caller: str | None, behaviour: Behaviour, mood: str) -> Reply:
    """Books a key once, for as long as it is remembered, and answers in the provider's manner."""
    with ledger.lock:
        entry = ledger.find(request["key"], behaviour)
        if entry is None:
            entry = ledger.book(request, caller, behaviour, refuse=mood == "refuse")
        entry.posts += 1
        hidden = HIDING_REPLIES.get(mood)
        if entry.first_reply is None:
            # Some providers repeat even an error of theirs for ever.
            entry.first_reply = hidden or reply_of(entry, behaviour.manner)
            return entry.first_reply
        return hidden or reply_to_repetition(entry, behaviour.manner)


def reply_of(entry: Entry, manner: str) -> Reply:
    reply = entry.reply()
    if manner == "success-false":
        is_paid = reply.content["status"] == "paid"
        return Reply(200, {"Success": is_paid, "Message": reply.content.get("reason"), "Model": {"Id": entry.key}})
    return reply


def reply_to_repetition(entry: Entry, manner: str) -> Reply:
    match manner:
        case "first-answer":
            assert entry.first_reply
            return entry.first_reply
        case "duplicate-400":
            return Reply(400, {"error": "duplicate", "detail": "This key was used before.", "key": entry.key})
        case "duplicate-409":
            return Reply(409, entry.reply().content)
    return reply_of(entry, manner)


def look(ledger: Ledger, names: dict[str, str], behaviour: Behaviour) -> Reply:
    """Says what is true now of the payment with this key or this reference. A key that is forgotten was never there."""
    with ledger.lock:
        key = names.get("key") or next(
            (entry.key for entry in ledger.entries if entry.reference == names.get("reference")), ""
        )
        entry = ledger.find(key, behaviour)
        if entry is None:
            return Reply(404, {"key": key, "status": "absent"})
        entry.looks += 1
        return Reply(200, entry.reply().content)
