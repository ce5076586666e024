import re
from typing import Any

from django.db import models
from django.utils.functional import cached_property
from django.utils.text import format_lazy
from rest_framework import fields, serializers

from payouts.models import MONEY, OUTCOME, TIMES, Payout, PayoutChange

# REST framework's own speaks for ever the language of its first reader.
fields.lazy_format = format_lazy  # type: ignore[attr-defined]


class PlainNumber:
    """Takes ASCII digits only: Python would also read "1_000", " 10 ", "1E+2" and the digits of every script."""

    pattern = re.compile(r"-?[0-9]+(\.[0-9]+)?")

    def to_internal_value(self, data: Any) -> Any:
        if not self.pattern.fullmatch(str(data)):
            self.fail("invalid")  # type: ignore[attr-defined]
        return super().to_internal_value(data)  # type: ignore[misc]


class PlainDecimalField(PlainNumber, serializers.DecimalField):
    def to_representation(self, value: Any) -> str:
        """PostgreSQL has brought it to two places."""
        return str(value)


class PlainIntegerField(PlainNumber, serializers.IntegerField):
    pattern = re.compile(r"-?[0-9]+")


class UTCField(serializers.DateTimeField):
    """The API speaks UTC, as psycopg does, whatever TIME_ZONE is; REST framework would look that up each time."""

    def to_representation(self, value: Any) -> str:
        return value.isoformat().replace("+00:00", "Z")


class PlainTextField(serializers.CharField):
    def to_internal_value(self, data: Any) -> str:
        """Refuses a number, which would become text that nobody has written."""
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class BuiltOnce(serializers.Serializer):
    """Its fields hold nothing of a request, and building them anew took a third of each: all share one set."""

    built: dict[Any, dict[str, serializers.Field]] = {}

    @cached_property
    def fields(self) -> dict[str, serializers.Field]:  # type: ignore[override]
        kind = type(self), self.partial
        if kind not in self.built:
            blank = type(self)(partial=self.partial)
            self.built[kind] = dict(super(BuiltOnce, blank).fields)
        return self.built[kind]

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """REST framework's own allows for fields that are left out or lead to other objects; none of ours does."""
        told = ((name, field, getattr(instance, name)) for name, field in self.fields.items())
        return {name: None if value is None else field.to_representation(value) for name, field, value in told}


class PayoutSerializer(BuiltOnce, serializers.ModelSerializer[Payout]):
    serializer_field_mapping = serializers.ModelSerializer.serializer_field_mapping | {
        models.DecimalField: PlainDecimalField,
        models.BigIntegerField: PlainIntegerField,
        models.DateTimeField: UTCField,
        models.TextField: PlainTextField,
    }

    class Meta:
        model = Payout
        fields = ("id", *MONEY, "comment", *OUTCOME, "attempt", *TIMES)
        read_only_fields: tuple[str, ...] = OUTCOME
        # REST framework looks for unique constraints at each request; PostgreSQL checks ours.
        validators: tuple[Any, ...] = ()


class PayoutPutSerializer(PayoutSerializer):
    class Meta(PayoutSerializer.Meta):
        read_only_fields = ()


class PayoutPatchSerializer(PayoutPutSerializer):
    class Meta(PayoutPutSerializer.Meta):
        extra_kwargs = {name: {"required": False} for name in MONEY}


class ChangeSerializer(BuiltOnce, serializers.ModelSerializer[PayoutChange]):
    at = UTCField()
    changes = serializers.JSONField(help_text="The new values of what changed.")

    class Meta:
        model = PayoutChange
        fields = ("at", "changed_by", "operation", "changes")
