"""The reference gateway tells the service that something happened, or fails to."""

import heapq
import json
import random
import threading
import time
from contextlib import suppress
from typing import Any
from urllib.request import Request, urlopen
from uuid import uuid4

from tests.gateway.behaviour import Behaviour
from tests.gateway.ledger import Entry

LATEST_SECONDS = 3


def send(behaviour: Behaviour, token: str, **body: Any) -> None:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = Request(behaviour.notification_url, json.dumps(body).encode(), headers)
    # The service may be away. This provider does not try again.
    with suppress(OSError):
        urlopen(request, timeout=2).close()


class Notifier(threading.Thread):
    """Sends each notification when it is due, in one of the moods of notifications."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.condition = threading.Condition()
        self.due: list[tuple[float, str, str, Behaviour]] = []

    def plan(self, entry: Entry, behaviour: Behaviour) -> None:
        """A notification when the payment is settled, and one when its money comes back."""
        if not behaviour.notification_url:
            return
        for at in (entry.settled_at, entry.returned_at):
            if at is not None:
                mood = random.choice(behaviour.notification_moods)
                delay = random.uniform(0, LATEST_SECONDS) if mood == "reordered" else 0
                with self.condition:
                    heapq.heappush(self.due, (at + delay, entry.key, mood, behaviour))
                    self.condition.notify()

    def run(self) -> None:
        while True:
            with self.condition:
                while not self.due or self.due[0][0] > time.time():
                    self.condition.wait(self.due[0][0] - time.time() if self.due else None)
                _at, key, mood, behaviour = heapq.heappop(self.due)
            self.notify_in_mood(behaviour, key, mood)

    def notify_in_mood(self, behaviour: Behaviour, key: str, mood: str) -> None:
        token = behaviour.notification_token
        match mood:
            case "lost":
                pass
            case "doubled":
                send(behaviour, token, key=key)
                send(behaviour, token, key=key)
            case "forged":
                send(behaviour, "guessed", key=key, status="refused")
                send(behaviour, token, key=str(uuid4()), status="paid")
            case _:
                send(behaviour, token, key=key)
