"""A caller of the drill."""

import random
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from uuid import uuid4

from tests.acceptance.service import Answer, call, wait_until
from tests.drill.world import World

PAUSE = 0.05
EXPECTED_ANSWERS = {200, 201, 204, 404, 409, 410, 503}


@dataclass
class Order:
    """One intent of a caller. Its id is the first word of the comment, so that the provider's ledger has it, too."""

    key: str | None
    request: dict[str, Any]
    # More than one if a failover has lost the row and the caller has sent it again.
    ids: set[str] = field(default_factory=set)


class Client(threading.Thread):
    """Sends payouts. Cancels, settles, corrects, deletes and sends back some of them. Repeats what is not found."""

    def __init__(self, world: World, seed: int, ending: threading.Event) -> None:
        super().__init__()
        self.world, self.ending, self.chance = world, ending, random.Random(seed)
        self.orders: list[Order] = []
        # What somebody has settled by hand as FAILED.
        self.failed_by_hand: set[str] = set()
        self.answers: Counter[Any] = Counter()

    def run(self) -> None:
        while not self.ending.is_set():
            self.chance.choices(
                [self.post, self.post_with_key, self.change, self.delete, self.send_back, self.ring_twice, self.repeat],
                weights=[30, 30, 15, 3, 10, 12, 10],
            )[0]()
            time.sleep(PAUSE)

    def call(self, method: str, path: str = "", body: Any = None, **headers: str) -> Answer | None:
        try:
            answer = call(method, f"{self.world.service.payouts}{path}", body, **headers)
        except (OSError, HTTPException):
            self.answers["none"] += 1
            return None
        # Who settles what is in doubt has to give a reason.
        is_about_reason = answer.status == 400 and method == "PATCH" and answer.json().keys() == {"reason"}
        self.answers["400 without a reason" if is_about_reason else answer.status] += 1
        return answer

    def new_order(self, key: str | None = None) -> Order:
        manner = self.world.manner
        details = self.chance.choice(manner.refused) if self.chance.random() < 0.15 else manner.recipient
        request = {"currency": manner.currency, "recipient_details": details, "comment": uuid4().hex}
        return Order(key, {"amount": f"{self.chance.randrange(1, 10**6) / 100:.2f}", **request})

    def send(self, order: Order) -> bool:
        headers = {"Idempotency-Key": order.key} if order.key else {}
        answer = self.call("POST", "", order.request, **headers)
        if answer and answer.status in (200, 201):
            order.ids.add(answer.json()["id"])
        return answer is not None and answer.status in (200, 201, 410)

    def post(self) -> None:
        order = self.new_order()
        if self.send(order):
            self.orders.append(order)

    def post_with_key(self) -> None:
        """Repeats the request until it is answered, and sometimes once more."""
        order, count = self.new_order(key=uuid4().hex), 0
        while not self.ending.is_set():
            is_answered = self.send(order)
            count += 1
            if is_answered and (count > 1 or self.chance.random() < 0.7):
                break
            time.sleep(PAUSE)
        if order.ids:
            self.orders.append(order)

    def repeat(self) -> None:
        """Sends an order with a key again if its payout is not found."""
        orders = [order for order in self.orders[-50:] if order.key]
        if orders:
            self.repeat_if_lost(self.chance.choice(orders))

    def repeat_if_lost(self, order: Order) -> None:
        answers = [self.call("GET", f"{pk}/") for pk in order.ids]
        if all(answer and answer.status == 404 for answer in answers):
            self.send(order)

    def repeat_all(self) -> None:
        # A process of the API asks for a connection once a second while PostgreSQL refuses it.
        wait_until(lambda: (answer := self.call("GET", "?page_size=1")) and answer.status == 200)
        time.sleep(2)
        for order in self.orders:
            if order.key:
                self.repeat_if_lost(order)

    def choose(self, status: str) -> dict[str, Any] | None:
        """A payout that has this status."""
        page = self.call("GET", f"?page_size=20&status={status}")
        payouts = page.json()["results"] if page and page.status == 200 else []
        return self.chance.choice(payouts) if payouts else None

    def change(self) -> None:
        payout = self.choose(self.chance.choice(["NEW", "NEW", "NEW", "PROCESSING", "COMPLETED"]))
        if not payout:
            return
        change = self.chance.choice(
            [
                {"status": "CANCELLED"},
                {"status": "COMPLETED", "gateway_reference": "by hand"},
                {"status": "FAILED", "failure_reason": "by hand"},
                {"amount": "77.77"},
                {"comment": f"{payout['comment'].split()[0]} changed"},
            ]
        )
        if change.get("status") == "FAILED":
            self.failed_by_hand.add(payout["comment"].split()[0])
        self.call("PATCH", f"{payout['id']}/", change)

    def delete(self) -> None:
        if payout := self.choose(self.chance.choice(["NEW", "COMPLETED", "PROCESSING"])):
            self.call("DELETE", f"{payout['id']}/")

    def send_back(self) -> None:
        if payout := self.choose("FAILED"):
            self.call("PATCH", f"{payout['id']}/", {"status": "NEW", "recipient_details": self.world.manner.recipient})

    def ring_twice(self) -> None:
        """Sends a second message for each of ten payouts."""
        page = self.call("GET", "?page_size=10")
        with suppress(Exception):
            if page and page.status == 200 and self.world.broker.is_up():
                self.world.service.ring(*[payout["id"] for payout in page.json()["results"]])
