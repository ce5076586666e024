"""What the reference gateway has booked."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from uuid import uuid4

from tests.gateway.behaviour import Behaviour

# The provider takes the payment of these, and refuses it; of the second two it does not even take the request.
REFUSED_NUMBER, REFUSED_RECEIVER = "4000000000000002", "refused@example.com"
INVALID_NUMBER, INVALID_RECEIVER = "4000000000000127", "invalid@example.com"


@dataclass(frozen=True)
class Reply:
    code: int
    content: Any


@dataclass
class Entry:
    """One payment. What the provider says of it changes with the time."""

    # The module that says it.
    language: str
    key: str
    amount: str
    currency: str
    details: dict[str, Any]
    comment: str
    external_id: str | None
    # The Authorization of the request.
    caller: str | None
    is_refused: bool
    booked_at: float
    settled_at: float
    # None if the money never comes back.
    returned_at: float | None
    # How many payments of this key came before. The provider has forgotten those.
    earlier: int = 0
    posts: int = 0
    looks: int = 0
    # What the first request was answered, which some providers repeat for ever.
    first_reply: Reply | None = field(default=None, repr=False)

    @property
    def status(self) -> str:
        now = time.time()
        if now < self.settled_at:
            return "pending"
        if self.is_refused:
            return "refused"
        return "returned" if self.returned_at is not None and now >= self.returned_at else "paid"

    @property
    def reference(self) -> str:
        return f"ref-{self.key[-12:]}{f'-{self.earlier}' if self.earlier else ''}"

    def under_another_key(self) -> "Entry":
        key = str(uuid4())
        return replace(self, key=key, external_id=key)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "status": self.status}


def is_refused(details: dict[str, Any]) -> bool:
    return bool({REFUSED_NUMBER, REFUSED_RECEIVER, INVALID_NUMBER, INVALID_RECEIVER} & {*map(str, details.values())})


class Ledger:
    def __init__(self, on_booking: Callable[[Entry, Behaviour], None]) -> None:
        self.on_booking = on_booking
        self.lock = threading.Lock()
        self.entries: list[Entry] = []
        self.by_key: dict[str, Entry] = {}
        # The access tokens that were given, and when each of them dies.
        self.tokens: dict[str, float] = {}

    def find(self, key: str, behaviour: Behaviour) -> Entry | None:
        """The payment of this key, unless the provider has forgotten the key."""
        entry = self.by_key.get(key)
        if entry and behaviour.forget_seconds and time.time() > entry.booked_at + behaviour.forget_seconds:
            return None
        return entry

    def book(
        self, language: str, request: dict[str, Any], caller: str | None, behaviour: Behaviour, *, refuse: bool
    ) -> Entry:
        now = time.time()
        is_pending = behaviour.pending_seconds and random.random() < behaviour.pending_share
        settled_at = now + behaviour.pending_seconds if is_pending else now
        comes_back = random.random() < behaviour.return_share
        is_unclaimed = random.random() < behaviour.unclaimed_share
        entry = Entry(
            language=language,
            key=request["key"],
            amount=request["amount"],
            currency=request["currency"],
            details=request["recipient_details"],
            comment=request["comment"],
            external_id=request["external_id"],
            caller=caller,
            is_refused=refuse or is_refused(request["recipient_details"]),
            booked_at=now,
            settled_at=settled_at,
            returned_at=settled_at + behaviour.return_seconds * (not is_unclaimed) if comes_back else None,
            earlier=self.by_key[request["key"]].earlier + 1 if request["key"] in self.by_key else 0,
        )
        self.entries.append(entry)
        self.by_key[entry.key] = entry
        self.on_booking(entry, behaviour)
        return entry

    def as_json(self) -> list[dict[str, Any]]:
        with self.lock:
            return [entry.as_json() for entry in self.entries]
