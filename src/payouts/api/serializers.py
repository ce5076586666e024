"""What a payout looks like in JSON, and what of it a request may name."""

from typing import Any

from django.db import models
from rest_framework import serializers

from payouts.machine import MONEY
from payouts.models import OUTCOME, TIMES, Payout, PayoutChange
from runtime.rest import BuiltOnce, PlainDecimalField, PlainIntegerField, PlainTextField, UTCField


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
