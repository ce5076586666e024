"""How our REST API reads and writes: exact JSON, plain numbers, times in UTC."""

import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from math import isinf
from typing import IO, Any

from django.http import UnreadablePostError
from django.utils.functional import cached_property
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _
from rest_framework import exceptions, negotiation, parsers, renderers, serializers
from rest_framework.request import Request
from rest_framework.utils import json

MAX_BODY_BYTES = 64 * 1024
# This many times the limit is read and thrown away of a body that is too long.
DISCARDED_CHUNKS = 160


class ApiError(exceptions.APIException):
    """A refusal with a status code for which REST framework has no exception."""

    def __init__(self, status_code: int, detail: Any, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.status_code, self.wait = status_code, retry_after


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        key = Counter(key for key, _value in pairs).most_common(1)[0][0]
        raise exceptions.ParseError(_("This key is given twice: %(key)s") % {"key": key})
    return result


def _exact_float(text: str) -> float:
    """Refuses a number that a float would round, such as the account number 40817810099910004312.00."""
    number = float(text)
    with suppress(InvalidOperation):
        # Some clients write 0.3 with 17 digits, as 0.29999999999999999. A whole number must be exact, because it may
        # be the number of an account.
        spellings = (repr(number),) if number.is_integer() else (repr(number), f"{number:.17g}")
        if isinf(number) or Decimal(text) in map(Decimal, spellings):
            return number
    raise exceptions.ParseError(_("This number has too many digits; send it as text: %(number)s") % {"number": text})


def read_json(body: bytes) -> Any:
    """Refuses what two readers could understand differently."""
    try:
        return json.loads(body.decode(), object_pairs_hook=_unique_keys, parse_float=_exact_float)
    except RecursionError as error:
        raise exceptions.ParseError(_("The JSON is nested too deeply.")) from error
    except ValueError as error:
        raise exceptions.ParseError(_("The body is not JSON: %(error)s") % {"error": error}) from error


class StrictJSONParser(parsers.BaseParser):
    """Reads no more than the limit."""

    # Not a JSONParser: REST framework gives that the whole body, however long it is.
    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        body = b""
        # A client that stops sending gets the answer to what it has sent.
        with suppress(UnreadablePostError):
            body = stream.read(MAX_BODY_BYTES + 1)
            # A client that is still sending would see a reset connection instead of the answer.
            for _chunk in range(DISCARDED_CHUNKS if len(body) > MAX_BODY_BYTES else 0):
                stream.read(MAX_BODY_BYTES)
        if len(body) > MAX_BODY_BYTES:
            raise ApiError(413, _("The body is longer than {limit} bytes.").format(limit=MAX_BODY_BYTES))
        if len(body) < int((parser_context or {})["request"].META["CONTENT_LENGTH"]):
            raise exceptions.ParseError(_("The body is shorter than its Content-Length."))
        return read_json(body)


class Negotiation(negotiation.DefaultContentNegotiation):
    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        """Takes a short cut, because there is one renderer and nearly every caller accepts it."""
        if request.headers.get("Accept", "*/*") in ("*/*", "application/json"):
            return renderers[0], renderers[0].media_type
        return super().select_renderer(request, renderers, format_suffix)


class JSONRenderer(renderers.JSONRenderer):
    def render(self, data: Any, *args: Any, **kwargs: Any) -> bytes:
        try:
            return super().render(data, *args, **kwargs)
        except UnicodeEncodeError:
            # An error message quotes a lone surrogate, which UTF-8 cannot carry but ASCII with escapes can.
            self.ensure_ascii = True  # type: ignore[misc]
            return super().render(data, *args, **kwargs)


class PlainNumber:
    """Takes ASCII digits only. Python would also read "1_000", " 10 ", "1E+2" and the digits of every script."""

    pattern = re.compile(r"-?[0-9]+(\.[0-9]+)?")

    def to_internal_value(self, data: Any) -> Any:
        if not self.pattern.fullmatch(str(data)):
            self.fail("invalid")  # type: ignore[attr-defined]
        return super().to_internal_value(data)  # type: ignore[misc]


class PlainDecimalField(PlainNumber, serializers.DecimalField):
    def to_representation(self, value: Any) -> str:
        """PostgreSQL has already rounded it to the places of its column."""
        return str(value)


class PlainIntegerField(PlainNumber, serializers.IntegerField):
    pattern = re.compile(r"-?[0-9]+")


class UTCField(serializers.DateTimeField):
    """Writes UTC, whatever TIME_ZONE is. REST framework would look the zone up each time."""

    def to_representation(self, value: Any) -> str:
        return value.isoformat().replace("+00:00", "Z")


class PlainTextField(serializers.CharField):
    def to_internal_value(self, data: Any) -> str:
        """Refuses a number, because nobody has written the text that it would become."""
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Strict(serializers.Serializer):
    """Refuses a field that it does not have: whoever misspells one would believe that it was read."""

    def to_internal_value(self, data: Any) -> Any:
        names = data.keys() - self.fields.keys() if isinstance(data, Mapping) else ()
        errors = {name: [_("There is no such field.")] for name in sorted(names)}
        try:
            values = super().to_internal_value(data)
        except exceptions.ValidationError as error:
            others: Any = error.detail
            raise exceptions.ValidationError({**others, **errors}) from error
        if errors:
            raise exceptions.ValidationError(errors)
        return values


class BuiltOnce(serializers.Serializer):
    """
    A serializer whose fields are built once, and not for each request.

    Building them takes a third of a request. They may be shared, because they keep nothing of a request.
    """

    built: dict[Any, dict[str, serializers.Field]] = {}

    # Bends djangorestframework 3.18: `fields` builds anew for each instance; remove when it no longer does.
    @cached_property
    def fields(self) -> dict[str, serializers.Field]:  # type: ignore[override]
        # One set for each language, because a field keeps the first translation of its messages.
        key = type(self), self.partial, get_language()
        if key not in self.built:
            blank = type(self)(partial=self.partial)
            self.built[key] = dict(super(BuiltOnce, blank).fields)
        return self.built[key]

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Reads each attribute directly: REST framework allows for fields that are left out or lead elsewhere."""
        values = ((name, field, getattr(instance, name)) for name, field in self.fields.items())
        return {name: None if value is None else field.to_representation(value) for name, field, value in values}
