"""The providers that a drill can run with, and how the service is set for each of them."""

import random
from dataclasses import dataclass, field, replace
from typing import Any

from tests.gateway.ledger import INVALID_NUMBER, INVALID_RECEIVER, REFUSED_NUMBER, REFUSED_RECEIVER

DAY = 86_400
CARD_NUMBER = "4111111111111111"


@dataclass(frozen=True)
class Manner:
    name: str
    # The manner of the reference gateway, and what else is set there.
    gateway: str
    behaviour: dict[str, Any] = field(default_factory=dict)
    # Whether the service is given a look-up.
    can_look: bool = True
    # PAYOUT_GATEWAY_REMEMBERS.
    remembers: int = DAY
    # Whether some payouts cannot be known, so that they wait for a person.
    may_wait: bool = False
    # Its route, whom it pays, and whom it refuses.
    route: str = "http"
    currency: str = "RUB"
    recipient: dict[str, str] = field(default_factory=lambda: {"number": CARD_NUMBER})
    refused: tuple[dict[str, str], ...] = ({"number": REFUSED_NUMBER},)
    # A caller that repeats what a failover has lost would be paid twice by a provider that has forgotten the key.
    may_fail_over: bool = True


FORGET_SECONDS = 8
FORGETS = Manner(
    "forgets",
    "forgets",
    {"forget_seconds": FORGET_SECONDS},
    remembers=FORGET_SECONDS,
    may_wait=True,
    may_fail_over=False,
)
YOOKASSA = Manner(
    "yookassa",
    "current",
    {"pending_seconds": 1, "pending_share": 0.5},
    route="yookassa",
    recipient={"type": "card", "number": CARD_NUMBER},
    refused=tuple({"type": "card", "number": number} for number in (REFUSED_NUMBER, INVALID_NUMBER)),
)
PAYPAL = Manner(
    "paypal",
    "current",
    # Its tokens die long before their time.
    {
        "pending_seconds": 1,
        "words": {"pending": "UNCLAIMED"},
        "return_seconds": 1,
        "return_share": 0.1,
        "unclaimed_share": 0.5,
        "token_seconds": 5,
    },
    route="paypal",
    currency="USD",
    recipient={"type": "paypal", "email": "person@example.com"},
    refused=tuple({"type": "paypal", "email": receiver} for receiver in (REFUSED_RECEIVER, INVALID_RECEIVER)),
)
MANNERS = (
    Manner("current", "current"),
    Manner("current-blind", "current", can_look=False),
    Manner("first-answer", "first-answer"),
    Manner("first-answer-blind", "first-answer", can_look=False, remembers=20, may_wait=True),
    Manner("duplicate-400", "duplicate-400"),
    Manner("duplicate-400-blind", "duplicate-400", can_look=False, remembers=20, may_wait=True),
    Manner("duplicate-409", "duplicate-409"),
    Manner("duplicate-409-blind", "duplicate-409", can_look=False),
    Manner("success-false", "success-false"),
    Manner("pending", "pending"),
    FORGETS,
    replace(FORGETS, name="forgets-blind", can_look=False),
    Manner("returns", "returns"),
    YOOKASSA,
    PAYPAL,
)
BY_NAME = {manner.name: manner for manner in MANNERS}


def choose(name: str, seed: int) -> Manner:
    """The manner of this name. Without a name the seed decides."""
    return BY_NAME[name] if name else random.Random(seed).choice(MANNERS)
