"""How many payouts this worker has in hand, and how many more of them recovery may take."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from django.conf import settings
from prometheus_client import Gauge

# A call that takes no longer than this is no reason to be careful.
QUICK_SECONDS = 2


class Kind(StrEnum):
    BELL = "bell"
    RECOVERED = "recovered"
    # What was asked about before. Its provider may hang.
    REPEATED = "repeated"


class Calls:
    """Recovery shares the calls with the bells, and each kind is certain of a quarter of them."""

    def __init__(self, limit: int) -> None:
        self.limit, self.quarter = limit, max(1, limit // 4)
        self.lock = threading.Lock()
        self.in_hand = dict.fromkeys(Kind, 0)
        # How many repeated ones in a row were quick.
        self.quick = 0

    def begin(self, kind: Kind) -> None:
        with self.lock:
            self.in_hand[kind] += 1

    def end(self, kind: Kind, seconds: float = 0) -> None:
        with self.lock:
            self.in_hand[kind] -= 1
            if kind == Kind.REPEATED:
                self.quick = self.quick + 1 if seconds <= QUICK_SECONDS else 0

    @contextmanager
    def one(self, kind: Kind) -> Iterator[None]:
        self.begin(kind)
        try:
            yield
        finally:
            self.end(kind)

    def room(self, kind: Kind) -> int:
        """
        How many more of this kind may begin.

        Repeated ones take more than their quarter only if they are quick, and leave a quarter free for new ones.
        """
        with self.lock:
            free = self.limit - sum(self.in_hand.values())
            certain = self.quarter - self.in_hand[kind]
            if kind == Kind.REPEATED:
                free = min(free - self.quarter, certain + self.quick)
            return max(free, certain)


calls = Calls(settings.CELERY_WORKER_CONCURRENCY)
IN_HAND = Gauge("payouts_in_hand", "Payouts that the worker has in hand, by how it came to them.", ["kind"])
for each in Kind:
    IN_HAND.labels(each).set_function(lambda kind=each: calls.in_hand[kind])  # type: ignore[misc]
