"""What every request passes before and after its view."""

import logging
import re
import time
from collections.abc import Callable
from http import HTTPMethod
from typing import Any

from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse
from django.middleware.locale import LocaleMiddleware
from django.utils import translation
from prometheus_client import Histogram
from rest_framework.throttling import BaseThrottle
from uuid_utils import uuid4

from runtime import metrics
from runtime.cards import mask_text
from runtime.context import request_id
from runtime.database import give_back_connection

type View = Callable[[HttpRequest], HttpResponse]

DURATIONS = Histogram("http_request_duration_seconds", "Requests to the API.", ["method", "route", "status"])
USABLE_ID = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)
access_log = logging.getLogger("access")


def author(request: Any) -> str:
    """The caller and the request, as a history names them. Takes a request of Django's or of REST framework's."""
    return f"{request.user.get_username() or 'api'} {request.id}"


def observe_requests(get_response: View) -> View:
    """Names each request, measures it and writes its line of the log."""

    def observe(request: HttpRequest) -> HttpResponse:
        # Answered before Django checks the host: Prometheus calls a pod by an address that ALLOWED_HOSTS does not have.
        if request.path == "/metrics":
            return metrics.show(request)
        proposal = request.headers.get("X-Request-ID", "")
        name = proposal if USABLE_ID.fullmatch(proposal) else uuid4().hex
        request.id = name  # type: ignore[attr-defined]
        request_id.set(name)
        start = time.perf_counter()
        response = get_response(request)
        if not response.streaming:
            # Sending it to a slow client needs none.
            give_back_connection()
        record(request, response, time.perf_counter() - start)
        response["X-Request-ID"] = name
        if request.path.startswith("/api/"):
            # Without this a browser keeps card numbers on its disk.
            response["Cache-Control"] = "no-store"
        # What this thread does next belongs to another request, or to none.
        request_id.set("-")
        return response

    return observe


def record(request: HttpRequest, response: HttpResponse, seconds: float) -> None:
    # A caller can invent any number of methods and paths. Each one as a label would be a new series of metrics.
    method = request.method if request.method in HTTPMethod.__members__ else "other"
    route = request.resolver_match.route if request.resolver_match else "other"
    DURATIONS.labels(method, route, response.status_code).observe(seconds)
    fields = {
        "method": request.method,
        # Without the query, because people put names and numbers there.
        "path": mask_text(request.path),
        "client": BaseThrottle().get_ident(request),  # type: ignore[arg-type]
        "status": response.status_code,
        "bytes": int(response.headers.get("Content-Length", 0)),
        "duration": round(seconds, 6),
    }
    access_log.info("request", extra={"fields": fields})


def skip_sessions_for_api_clients(get_response: View) -> View:
    """
    Gives sessions, messages and languages to people only.

    A machine that calls the API sends no cookie and names no language. Its POST costs a seventh less without them.
    """
    with_sessions: Any = LocaleMiddleware(SessionMiddleware(AuthenticationMiddleware(MessageMiddleware(get_response))))

    def respond(request: HttpRequest) -> HttpResponse:
        person = request.META.keys() & {"HTTP_ACCEPT_LANGUAGE", "HTTP_COOKIE"}
        if person or not request.path.startswith("/api/"):
            drop_unusable_session(request)
            return with_sessions(request)
        # This thread may still have the language of its last request.
        translation.deactivate()
        return get_response(request)

    return respond


def drop_unusable_session(request: HttpRequest) -> None:
    """A quoted cookie can contain a null character, with which PostgreSQL cannot look for a session."""
    if "\0" in request.COOKIES.get(settings.SESSION_COOKIE_NAME, ""):
        del request.COOKIES[settings.SESSION_COOKIE_NAME]
