"""For which request something is done, and by whom; and the lines of the log that tell it."""

import json
import logging
import re
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

# With all that people and URLs put between its digits, but dots: addresses have them. PostgreSQL reads it, too.
CARD_NUMBER = r"\d(?:(?:[\s\-\u00a0\u00ad\u2000-\u206f\u3000]|%[0-9A-Fa-f]{2}){0,9}\d){11,18}|\d{4}(?:\+\d{4}){3}"
# One in eighteen has digits enough in a row for a card. Without a letter it is two cards.
UUID = r"\b(?!\d{8}-?(?:\d{4}-?){3}\d{12}\b)[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b"
UUID_OR_CARD_NUMBER = re.compile(f"({UUID})|{CARD_NUMBER}")

# No line names its place in the code, its thread or its process: to find them out took a quarter of its time.
logging._srcfile = None
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
logging.logAsyncioTasks = False  # type: ignore[attr-defined]

request_id: ContextVar[str] = ContextVar("request_id", default="-")
actor: ContextVar[str] = ContextVar("actor", default="command")


def changed_by() -> str:
    """Who changes a payout, for its history."""
    return f"{actor.get()} {request_id.get()}"


def without_card_numbers(text: str) -> str:
    """A gateway may quote the card that it refuses, and PostgreSQL the row."""
    return UUID_OR_CARD_NUMBER.sub(lambda found: found[1] or f"**** {found[0][-4:]}", text)


def masked(value: Any) -> Any:
    """The same for any JSON value."""
    if isinstance(value, dict):
        return {masked(key): masked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [masked(item) for item in value]
    text = without_card_numbers(str(value))
    return value if text == str(value) else text


class Formatter(logging.Formatter):
    """One line for each event, with the fields that `extra` gives: JSON, or text for a person at a terminal."""

    def __init__(self, *, text: bool) -> None:
        super().__init__()
        self.text = text
        self.json = json.JSONEncoder(default=str)

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        event = {"time": time, "level": record.levelname, "logger": record.name, "request_id": request_id.get()}
        event["message"] = without_card_numbers(record.getMessage())
        fields = getattr(record, "fields", {})
        trace = without_card_numbers(self.formatException(record.exc_info)) if record.exc_info else ""
        if not self.text:
            return self.json.encode(event | fields | ({"traceback": trace} if trace else {}))
        line = "{time} {level} {logger} [{request_id}] {message}".format(**event)
        # Encoded, because a path may have a line break in it.
        line = " ".join([line, *(f"{name}={self.json.encode(value)}" for name, value in fields.items())])
        return f"{line}\n{trace}" if trace else line
