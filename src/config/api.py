"""What the API speaks: JSON, and the caller's language; and what it skips for machines."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from math import isinf
from typing import IO, Any

from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, UnreadablePostError
from django.middleware.locale import LocaleMiddleware
from django.utils import translation
from django.utils.translation import gettext_lazy as _
from rest_framework import exceptions, negotiation, parsers, renderers
from rest_framework.request import Request
from rest_framework.utils import json

MAX_BODY_BYTES = 64 * 1024
DRAINED_CHUNKS = 160


class Refused(exceptions.APIException):
    """For what REST framework has no exception."""

    def __init__(self, status_code: int, detail: Any, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.status_code, self.wait = status_code, retry_after


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        twice = Counter(key for key, _value in pairs).most_common(1)[0][0]
        raise exceptions.ParseError(_("This key is given twice: %(key)s") % {"key": twice})
    return result


def _exact(text: str) -> float:
    """Refuses what a float would round, as it would the account number 40817810099910004312.00; 0.1 it gives back."""
    number = float(text)
    with suppress(InvalidOperation):
        # Some give each number 17 digits, as 0.29999999999999999. A whole one may be that of an account.
        same = (repr(number),) if number.is_integer() else (repr(number), f"{number:.17g}")
        if isinf(number) or Decimal(text) in map(Decimal, same):
            return number
    raise exceptions.ParseError(_("This number has too many digits; send it as text: %(number)s") % {"number": text})


def read_json(body: bytes) -> Any:
    """Takes nothing that two readers could take differently."""
    try:
        return json.loads(body.decode(), object_pairs_hook=_unique_keys, parse_float=_exact)
    except RecursionError as error:
        raise exceptions.ParseError(_("The JSON is nested too deeply.")) from error
    except ValueError as error:
        raise exceptions.ParseError(_("The body is not JSON: %(error)s") % {"error": error}) from error


class StrictJSONParser(parsers.BaseParser):
    """Reads no more than the limit."""

    # Not a JSONParser: REST framework would hand that the whole body, however long it is.
    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        body = b""
        # A client that falls silent gets the answer to what it has sent.
        with suppress(UnreadablePostError):
            body = stream.read(MAX_BODY_BYTES + 1)
            # Whoever is still sending would see a reset connection in place of the answer.
            for _chunk in range(DRAINED_CHUNKS if len(body) > MAX_BODY_BYTES else 0):
                stream.read(MAX_BODY_BYTES)
        if len(body) > MAX_BODY_BYTES:
            raise Refused(413, _("The body is longer than {limit} bytes.").format(limit=MAX_BODY_BYTES))
        if len(body) < int((parser_context or {})["request"].META["CONTENT_LENGTH"]):
            raise exceptions.ParseError(_("The body is shorter than its Content-Length."))
        return read_json(body)


def for_people(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Skips what is for people if the caller is a machine, without a cookie or a language: a seventh of its POST."""
    people = LocaleMiddleware(SessionMiddleware(AuthenticationMiddleware(MessageMiddleware(get_response))))

    def answer(request: HttpRequest) -> Any:
        if request.META.keys() & {"HTTP_ACCEPT_LANGUAGE", "HTTP_COOKIE"} or not request.path.startswith("/api/"):
            return people(request)
        # This thread may still have the language of its last request.
        translation.deactivate()
        return get_response(request)

    return answer


class Negotiation(negotiation.DefaultContentNegotiation):
    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        """There is one, and nearly everybody takes what there is."""
        if request.headers.get("Accept", "*/*") in ("*/*", "application/json"):
            return renderers[0], renderers[0].media_type
        return super().select_renderer(request, renderers, format_suffix)


class JSONRenderer(renderers.JSONRenderer):
    def render(self, data: Any, *args: Any, **kwargs: Any) -> bytes:
        try:
            return super().render(data, *args, **kwargs)
        except UnicodeEncodeError:
            # An error message quotes a lone surrogate, which UTF-8 cannot carry.
            self.ensure_ascii = True  # type: ignore[misc]
            return super().render(data, *args, **kwargs)
