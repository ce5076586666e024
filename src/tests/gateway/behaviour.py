"""How the reference gateway behaves. `PUT /behaviour` changes it while it runs."""

from dataclasses import dataclass, field, fields, replace
from typing import Any

MOODS = {
    "ok": "answers as its manner says",
    "slow": "waits for a while before it books anything",
    "refuse": "refuses every card",
    "broken": "books nothing, and answers 503",
    # It has booked, and says something else.
    **{code: f"answers {code}, which says nothing" for code in ("500", "401", "409", "202", "429", "302")},
    "hang": "answers after the client has gone",
    "drop": "hangs up",
    "drip": "sends one byte a second",
    "page": "answers with the page of a proxy",
    "long": "answers with more than anybody reads",
    "empty": "answers an empty 200",
    "proxy": "answers a 400 in JSON, as a proxy does",
    "cut": "hangs up in the middle of its answer",
    "half": "sends half of its JSON as if it were all",
    "twice": "answers, and a little later answers again on the same connection",
    "other key": "answers about another payment",
    "other amount": "says paid of another amount",
    "exchange": "gives this answer to the next call, and this call the answer of the last one",
}
# Only in the languages of real providers, which have errors of their own. Nothing is executed.
ERROR_MOODS = {
    "forbidden": "lacks a permission",
    "credentials": "does not know who calls",
    "too many": "takes no more calls for now",
    "internal": "is broken",
    "funds": "says that the company's account is empty; only PayPal has such an error",
}
NOTIFICATION_MOODS = {
    "sent": "sends it at once",
    "lost": "never sends it",
    "doubled": "sends it twice",
    "forged": "somebody else sends it, with a wrong token, and another one with a key that nobody has",
    "reordered": "sends it after others that are younger",
}
# How a provider answers, as GATEWAYS.md tells it of real ones. A look-up always tells the truth.
MANNERS: dict[str, dict[str, Any]] = {
    # A repeated key is answered with what is true now.
    "current": {},
    # A repeated key is answered as the first time, for ever.
    "first-answer": {"pending_seconds": 1, "pending_share": 0.5},
    # A repeated key is an HTTP 400 that says nothing.
    "duplicate-400": {},
    # A repeated key is an HTTP 409 with the payment as it is now.
    "duplicate-409": {},
    # Answers {"Success": true} or {"Success": false} in an HTTP 200. Neither is a word of the contract.
    "success-false": {},
    # Works on each payment for a while, then pays or refuses.
    "pending": {"pending_seconds": 2},
    # Forgets a key after a while. The same key is a new payment then.
    "forgets": {"forget_seconds": 8},
    # The money of some payments comes back.
    "returns": {"return_seconds": 1, "return_share": 0.3},
}
NO_TIMES = {
    "pending_seconds": 0,
    "pending_share": 1,
    "forget_seconds": 0,
    "return_seconds": 0,
    "return_share": 0,
    "unclaimed_share": 0,
}


@dataclass(frozen=True)
class Behaviour:
    manner: str = "current"
    # Each call meets one of these, at random.
    moods: list[str] = field(default_factory=lambda: ["ok"])
    # If there is one, a call without it is answered 401, and nothing is booked.
    token: str = ""
    pending_seconds: float = 0
    pending_share: float = 1
    # 0: never.
    forget_seconds: float = 0
    return_seconds: float = 0
    return_share: float = 0
    # Of the payments whose money comes back, so many were never paid: nobody has claimed them.
    unclaimed_share: float = 0
    # Of the languages of real providers: why it refuses, whether PayPal then denies the whole batch, what PayPal says
    # in place of its usual words, such as {"pending": "UNCLAIMED", "refused": "BLOCKED", "returned": "REVERSED"}, and
    # how long PayPal's tokens live, if not as long as it says.
    reason: str = ""
    denies: bool = False
    words: dict[str, str] = field(default_factory=dict)
    token_seconds: float = 0
    # Where notifications go, if anywhere.
    notification_url: str = ""
    notification_token: str = ""
    notification_moods: list[str] = field(default_factory=lambda: ["sent"])

    def changed(self, changes: dict[str, Any]) -> "Behaviour":
        """A new manner brings its own times and shares along, and takes those of the old one away."""
        unknown = changes.keys() - {each.name for each in fields(self)}
        if unknown:
            raise ValueError(f"there is no {', '.join(sorted(unknown))}")
        times = {**NO_TIMES, **MANNERS[changes["manner"]]} if "manner" in changes else {}
        return replace(self, **{**times, **changes})
