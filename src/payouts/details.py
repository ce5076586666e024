"""Where the money goes: what a payout's `recipient_details` may hold."""

import json
import math
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Func, Q, Value
from django.db.models.functions import Cast
from django.db.models.lookups import Exact, LessThanOrEqual
from django.utils.translation import gettext_lazy as _

DETAILS_MAX_BYTES = 16 * 1024
DETAILS_MAX_DEPTH = 32

_TEXT = Cast("recipient_details", models.TextField())
_TYPE = Func("recipient_details", function="jsonb_typeof", output_field=models.TextField())
_SIZE = Func(_TEXT, function="octet_length", output_field=models.IntegerField())
_TOO_DEEP_PATH = Value(f'strict $.**{{{DETAILS_MAX_DEPTH}}} ? (@.type() == "object" || @.type() == "array")')
_TOO_DEEP = Func("recipient_details", _TOO_DEEP_PATH, function="jsonb_path_exists", output_field=models.BooleanField())
# What the validator below says, said by PostgreSQL: nothing gets round it.
DETAILS_CONDITIONS = {
    "details_object": ~Q(recipient_details={}) & Q(Exact(_TYPE, "object")),
    "details_size": LessThanOrEqual(_SIZE, DETAILS_MAX_BYTES),
    "details_depth": ~Q(_TOO_DEEP),
}


def validate_recipient_details(details: object) -> None:
    if not isinstance(details, dict) or not details:
        raise ValidationError(_("Must be a JSON object that is not empty."))
    growth = _growth_in_postgresql(details)
    try:
        size = len(json.dumps(details, ensure_ascii=False).encode()) + growth
    except UnicodeEncodeError as error:
        raise ValidationError(_("Lone surrogates are not allowed.")) from error
    if size > DETAILS_MAX_BYTES:
        raise ValidationError(_("Longer than %(limit)d bytes.") % {"limit": DETAILS_MAX_BYTES})


def _growth_in_postgresql(details: dict[str, Any]) -> int:
    """
    By how many bytes the numbers grow in PostgreSQL, which writes them without an exponent: 1e300 takes 301 bytes.

    Refuses on the way what PostgreSQL cannot store.
    """
    growth = 0
    unseen: list[tuple[Any, int]] = [(details, 1)]
    while unseen:
        value, depth = unseen.pop()
        if isinstance(value, dict | list):
            if depth > DETAILS_MAX_DEPTH:
                raise ValidationError(_("Nested deeper than %(limit)d levels.") % {"limit": DETAILS_MAX_DEPTH})
            parts = (*value, *value.values()) if isinstance(value, dict) else value
            unseen += [(part, depth + 1) for part in parts]
        elif isinstance(value, str) and "\0" in value:
            raise ValidationError(_("Null characters are not allowed."))
        elif isinstance(value, float):
            if not math.isfinite(value):
                raise ValidationError(_("Numbers must be finite."))
            growth += len(f"{Decimal(repr(value)):f}") - len(repr(value))
    return growth
