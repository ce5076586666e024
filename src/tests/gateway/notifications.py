"""The reference gateway tells the service that something happened, or fails to."""

import heapq
import json
import random
import threading
import time
from contextlib import suppress
from itertools import count
from typing import Any
from urllib.request import Request, urlopen

from tests.gateway.behaviour import Behaviour
from tests.gateway.languages import LANGUAGES
from tests.gateway.ledger import Entry

LATEST_SECONDS = 3


def send(behaviour: Behaviour, signature: dict[str, str], body: dict[str, Any]) -> None:
    headers = {**signature, "Content-Type": "application/json"}
    request = Request(behaviour.notification_url, json.dumps(body).encode(), headers)
    # The service may be away. This provider does not try again.
    with suppress(OSError):
        urlopen(request, timeout=2).close()


class Notifier(threading.Thread):
    """Sends each notification when it is due, in one of the moods of notifications."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.condition = threading.Condition()
        self.due: list[tuple[float, int, Entry, str, Behaviour]] = []
        self.counter = count()

    def plan(self, entry: Entry, behaviour: Behaviour) -> None:
        """A notification when it waits to be claimed, one when it is settled, and one when its money comes back."""
        if not behaviour.notification_url:
            return
        claimable_at = entry.booked_at if behaviour.words.get("pending") == "UNCLAIMED" else None
        for at in {claimable_at, entry.settled_at, entry.returned_at}:
            if at is not None:
                mood = random.choice(behaviour.notification_moods)
                delay = random.uniform(0, LATEST_SECONDS) if mood == "reordered" else 0
                with self.condition:
                    heapq.heappush(self.due, (at + delay, next(self.counter), entry, mood, behaviour))
                    self.condition.notify()

    def run(self) -> None:
        while True:
            with self.condition:
                while not self.due or self.due[0][0] > time.time():
                    self.condition.wait(self.due[0][0] - time.time() if self.due else None)
                _at, _number, entry, mood, behaviour = heapq.heappop(self.due)
            self.notify_in_mood(behaviour, entry, mood)

    def notify_in_mood(self, behaviour: Behaviour, entry: Entry, mood: str) -> None:
        language = LANGUAGES[entry.language]
        say, signature = language.notification, language.signature(behaviour.notification_token)
        body = say(entry, behaviour)
        match mood:
            case "lost":
                pass
            case "doubled":
                send(behaviour, signature, body)
                send(behaviour, signature, body)
            case "forged":
                send(behaviour, language.signature("guessed"), {**body, "status": "refused"})
                send(behaviour, signature, {**say(entry.under_another_key(), behaviour), "status": "paid"})
            case _:
                send(behaviour, signature, body)
