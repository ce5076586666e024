"""What can be asked of a list of payouts."""

from datetime import UTC
from functools import partial

from django.db import models
from rest_framework import serializers

from payouts.machine import Status
from payouts.models import AMOUNT_DIGITS, AMOUNT_PLACES, Currency
from payouts.querysets import PayoutQuerySet
from runtime.rest import BuiltOnce, PlainDecimalField, PlainIntegerField

ORDERINGS = ("created_at", "-created_at", "amount", "-amount")
SEARCH_MAX_LENGTH = 200
# Converts to UTC, because PostgreSQL takes no offset of 16 hours or more.
TimeField = partial(serializers.DateTimeField, default_timezone=UTC)
BIGGEST = models.BigIntegerField.MAX_BIGINT


class PayoutQuery(BuiltOnce):
    """The filters; the `source` of each is its lookup."""

    status = serializers.MultipleChoiceField(
        choices=Status.choices, source="status__in", help_text="In any of these; may be repeated."
    )
    currency = serializers.ChoiceField(choices=Currency.choices, help_text="In this currency.")
    user_id = PlainIntegerField(min_value=-BIGGEST - 1, max_value=BIGGEST, help_text="Of this user.")
    amount_min = PlainDecimalField(AMOUNT_DIGITS, AMOUNT_PLACES, source="amount__gte", help_text="At least this much.")
    amount_max = PlainDecimalField(AMOUNT_DIGITS, AMOUNT_PLACES, source="amount__lte", help_text="At most this much.")
    created_after = TimeField(source="created_at__gte", help_text="Created then or later.")
    created_before = TimeField(source="created_at__lt", help_text="Created before that.")
    search = serializers.CharField(
        allow_blank=True, max_length=SEARCH_MAX_LENGTH, help_text="All of these words are in the comment."
    )
    ordering = serializers.ChoiceField(ORDERINGS, help_text="By this, then by id; `-created_at` unless said otherwise.")

    def get_fields(self) -> dict[str, serializers.Field]:
        """All are optional, and an empty one counts as absent."""
        fields = super().get_fields()
        for field in fields.values():
            field.required = False
        return fields

    def find(self, payouts: PayoutQuerySet) -> PayoutQuerySet:
        self.is_valid(raise_exception=True)
        lookups = self.validated_data
        if order := lookups.pop("ordering", ""):
            payouts = payouts.order_by(order, "-id" if order.startswith("-") else "id")
        if words := lookups.pop("search", ""):
            payouts = payouts.matching(words)
        return payouts.filter(**lookups)
