"""The request id: taken from the caller or made, answered, logged, and passed on to the worker."""

import logging
import re
import uuid
from collections.abc import Callable
from contextvars import ContextVar

from django.http import HttpRequest, HttpResponse

USABLE = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)

request_id: ContextVar[str] = ContextVar("request_id", default="-")
actor: ContextVar[str] = ContextVar("actor", default="command")


def changed_by() -> str:
    """Who changes a payout, for its history."""
    return f"{actor.get()} {request_id.get()}"


class RequestIdMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-ID", "")
        request_id.set(given if USABLE.fullmatch(given) else uuid.uuid4().hex)
        actor.set("api")
        response = self.get_response(request)
        response["X-Request-ID"] = request_id.get()
        return response


class Formatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("{asctime} {levelname} {name} [{request_id}] {message}", style="{")

    def format(self, record: logging.LogRecord) -> str:
        record.request_id = request_id.get()
        return super().format(record)
