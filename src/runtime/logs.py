"""The lines of the log."""

import json
import logging
from datetime import UTC, datetime

from runtime.cards import mask_text
from runtime.context import request_id


class Formatter(logging.Formatter):
    """One line for each event, with the fields that `extra` gives: JSON, or text for a person at a terminal."""

    def __init__(self, *, text: bool) -> None:
        super().__init__()
        self.text = text
        self.json = json.JSONEncoder(default=str)

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        event = {"time": time, "level": record.levelname, "logger": record.name, "request_id": request_id.get()}
        event["message"] = mask_text(record.getMessage())
        fields = getattr(record, "fields", {})
        traceback = mask_text(self.formatException(record.exc_info)) if record.exc_info else ""
        if not self.text:
            return self.json.encode(event | fields | ({"traceback": traceback} if traceback else {}))
        line = "{time} {level} {logger} [{request_id}] {message}".format(**event)
        # Encoded as JSON, because a path may contain a line break.
        line = " ".join([line, *(f"{name}={self.json.encode(value)}" for name, value in fields.items())])
        return f"{line}\n{traceback}" if traceback else line
