"""What a payout looks like in JSON, and what of it a request may name."""

from typing import Any

from django.db import models
from rest_framework import serializers

from payouts.machine import MONEY
from payouts.models import RESULT, TEXT_MAX_LENGTH, TIMES, Payout, PayoutChange
from runtime.rest import BuiltOnce, PlainDecimalField, PlainIntegerField, PlainTextField, Strict, UTCField


class PayoutSerializer(BuiltOnce, Strict, serializers.ModelSerializer[Payout]):
    serializer_field_mapping = serializers.ModelSerializer.serializer_field_mapping | {
        models.DecimalField: PlainDecimalField,
        models.BigIntegerField: PlainIntegerField,
        models.DateTimeField: UTCField,
        models.TextField: PlainTextField,
    }

    class Meta:
        model = Payout
        fields: tuple[str, ...] = ("id", *MONEY, "comment", *RESULT, "failure_code", "gateway", "attempt", *TIMES)
        read_only_fields: tuple[str, ...] = RESULT
        # REST framework looks for unique constraints at each request; PostgreSQL checks ours.
        validators: tuple[Any, ...] = ()


class PayoutPostSerializer(PayoutSerializer):
    """What the document shows as the body of a POST."""


class PayoutPutSerializer(PayoutSerializer):
    class Meta(PayoutSerializer.Meta):
        read_only_fields = ()


class PayoutPatchSerializer(PayoutPutSerializer):
    reason = PlainTextField(
        write_only=True, required=False, max_length=TEXT_MAX_LENGTH, help_text="Why the status is changed."
    )

    # The attempt that the caller has seen.
    attempt = PlainIntegerField(
        required=False, min_value=0, help_text="Nothing is changed if a worker has made another attempt since this one."
    )

    class Meta(PayoutPutSerializer.Meta):
        fields: tuple[str, ...] = (*PayoutPutSerializer.Meta.fields, "reason")
        extra_kwargs = {name: {"required": False} for name in MONEY}


class ChangeSerializer(BuiltOnce, serializers.ModelSerializer[PayoutChange]):
    at = UTCField()
    changes = serializers.JSONField(help_text="The new values of what changed.")

    class Meta:
        model = PayoutChange
        fields = ("at", "changed_by", "operation", "changes")
