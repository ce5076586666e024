"""What each kind of provider answers to a payment and to a look-up, in any language."""

from dataclasses import replace
from typing import Any

from tests.gateway.behaviour import Behaviour
from tests.gateway.ledger import Entry, Reply
from tests.gateway.wire import Call

OTHER_PAYMENTS = ("other key", "other amount")
# What it answers in those moods in which it books, and then says nothing of it.
HIDING_REPLIES = {
    code: Reply(int(code), {"detail": "it may be booked all the same"})
    for code in ("500", "401", "409", "202", "429", "302")
}


def pay(language: Any, request: dict[str, Any], call: Call, mood: str) -> Reply:
    """Books a key once, for as long as it is remembered, and answers in the provider's manner."""
    ledger, behaviour = call.ledger, call.behaviour
    with ledger.lock:
        entry = ledger.find(request["key"], behaviour)
        if entry is None:
            caller = call.headers["Authorization"]
            entry = ledger.book(language.NAME, request, caller, behaviour, refuse=mood == "refuse")
        entry.posts += 1
        is_first = entry.first_reply is None
        # Some providers repeat even an error of theirs for ever.
        entry.first_reply = entry.first_reply or language.HIDING_REPLIES.get(mood) or language.say(entry, behaviour)
        if is_first and mood not in OTHER_PAYMENTS:
            return entry.first_reply
        return (
            language.HIDING_REPLIES.get(mood)
            or say_other(language, entry, behaviour, mood)
            or language.say_again(entry, request, behaviour)
        )


def look(language: Any, names: dict[str, str], call: Call, mood: str) -> Reply:
    """Says what is true now of the payment with this key or this reference. A key that is forgotten was never there."""
    ledger, behaviour = call.ledger, call.behaviour
    with ledger.lock:
        if "key" in names:
            entry = ledger.find(names["key"], behaviour)
        else:
            entry = next((entry for entry in ledger.entries if entry.reference == names.get("reference")), None)
        if entry is None:
            return language.say_absent(names)
        entry.looks += 1
        return (
            language.HIDING_REPLIES.get(mood)
            or say_other(language, entry, behaviour, mood)
            or language.say_what_is(entry, behaviour)
        )


def say_other(language: Any, entry: Entry, behaviour: Behaviour, mood: str) -> Reply | None:
    """Says that another payment is paid, if that is its mood."""
    if mood not in OTHER_PAYMENTS:
        return None
    other = entry.under_another_key() if mood == "other key" else replace(entry, amount="0.00")
    return language.say_what_is(replace(other, is_refused=False, settled_at=0, returned_at=None), behaviour)
