"""What the reference gateway has booked, and what it says of it."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.gateway.behaviour import Behaviour

REFUSED_NUMBER = "4000000000000002"
CODES = {"paid": 201, "refused": 402, "pending": 202, "returned": 200}


@dataclass(frozen=True)
class Reply:
    code: int
    content: Any


@dataclass
class Entry:
    """One payment. What the provider says of it changes with the time."""

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
        return f"ref-{self.key[-12:]}"

    def reply(self) -> Reply:
        status = self.status
        content = {
            "key": self.key,
            "status": status,
            "amount": self.amount,
            "currency": self.currency,
            "reference": self.reference,
        }
        if status == "refused":
            content |= {"reason": f"The card {self.details.get('number')} is refused.", "code": "card_refused"}
        if status == "returned":
            content |= {"reason": "The account is closed.", "code": "account_closed"}
        return Reply(CODES[status], content)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "status": self.status}


class Ledger:
    def __init__(self, on_booking: Callable[[Entry, Behaviour], None]) -> None:
        self.on_booking = on_booking
        self.lock = threading.Lock()
        self.entries: list[Entry] = []
        self.by_key: dict[str, Entry] = {}

    def find(self, key: str, behaviour: Behaviour) -> Entry | None:
        """The payment of this key, unless the provider has forgotten the key."""
        entry = self.by_key.get(key)
        if entry and behaviour.forget_seconds and time.time() > entry.booked_at + behaviour.forget_seconds:
            return None
        return entry

    def book(self, request: dict[str, Any], caller: str | None, behaviour: Behaviour, *, refuse: bool) -> Entry:
        now = time.time()
        is_pending = behaviour.pending_seconds and random.random() < behaviour.pending_share
        settled_at = now + behaviour.pending_seconds if is_pending else now
        comes_back = random.random() < behaviour.return_share
        entry = Entry(
            key=request["key"],
            amount=request["amount"],
            currency=request["currency"],
            details=request["recipient_details"],
            comment=request["comment"],
            external_id=request["external_id"],
            caller=caller,
            is_refused=refuse or request["recipient_details"].get("number") == REFUSED_NUMBER,
            booked_at=now,
            settled_at=settled_at,
            returned_at=settled_at + behaviour.return_seconds if comes_back else None,
        )
        self.entries.append(entry)
        self.by_key[entry.key] = entry
        self.on_booking(entry, behaviour)
        return entry

    def as_json(self) -> list[dict[str, Any]]:
        with self.lock:
            return [entry.as_json() for entry in self.entries]
