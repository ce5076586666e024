"""Which messages are ours. Anybody who reaches the broker can send others."""

import json
import logging
import threading
import time
from collections.abc import Container
from typing import Any
from uuid import UUID

from prometheus_client import Counter

logger = logging.getLogger(__name__)

# Ours have 200 bytes, and Celery adds little. Looked at before anything is decoded.
LONGEST_BODY = 4096
DROPPED = Counter("payouts_dropped_messages", "Messages that are none of ours.")


def fault(message: Any, tasks: Container[str]) -> str:
    """Why this message is none of ours, or nothing."""
    headers = message.headers
    if not isinstance(headers.get("task"), str) or headers["task"] not in tasks:
        return "it names no task of ours"
    if not isinstance(headers.get("id"), str) or message.content_type != "application/json":
        return "it has no id, or is no JSON"
    if headers.get("eta"):
        # Celery would keep it until then, in place of one of ours.
        return "it is for a later time"
    if len(message.body) > LONGEST_BODY or not is_call(message.body):
        return "it is no call of a task"
    return ""


def is_call(body: str | bytes) -> bool:
    """The arguments, no named ones, and nothing that is to be called afterwards."""
    try:
        match json.loads(body):
            case [[*_arguments], {**named}, {**afterwards}]:
                return not named and not any(afterwards.values())
    except (ValueError, RecursionError):
        pass
    return False


def read_uuid(word: Any) -> UUID | None:
    try:
        return UUID(word)
    except (AttributeError, TypeError, ValueError):
        return None


class Drops:
    """Counts what is dropped, and says so once a second at most: there may be thousands."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.number = 0
        self.last_line = 0.0

    def note(self, why: str) -> None:
        DROPPED.inc()
        with self.lock:
            self.number += 1
            now = time.monotonic()
            if now < self.last_line + 1:
                return
            number, self.number, self.last_line = self.number, 0, now
        logger.warning("dropped messages that are not ours: %s, the last because %s", number, why)


drops = Drops()
