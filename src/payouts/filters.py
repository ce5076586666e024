"""What can be asked of a list, and how it is cut into pages."""

from datetime import UTC
from functools import partial
from typing import Any

from django.core import signing
from django.core.paginator import Paginator
from django.db import models
from django.db.models import Func, QuerySet, Value
from django.db.models.lookups import GreaterThan, LessThan
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from payouts.models import AMOUNT_DIGITS, AMOUNT_PLACES, COUNT_LIMIT, Currency, PayoutQuerySet, Status
from payouts.serializers import BuiltOnce, PlainDecimalField, PlainIntegerField

ORDERINGS = ("created_at", "-created_at", "amount", "-amount")
SEARCH_MAX_LENGTH = 200
# Converts to UTC, as PostgreSQL takes no offset of 16 hours or more.
moment = partial(serializers.DateTimeField, default_timezone=UTC)
row = partial(Func, function="ROW", output_field=models.Field())
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
    created_after = moment(source="created_at__gte", help_text="Created then or later.")
    created_before = moment(source="created_at__lt", help_text="Created before that.")
    search = serializers.CharField(
        allow_blank=True, max_length=SEARCH_MAX_LENGTH, help_text="All of these words are in the comment."
    )
    ordering = serializers.ChoiceField(ORDERINGS, help_text="By this, then by id; `-created_at` unless said otherwise.")

    def get_fields(self) -> dict[str, serializers.Field]:
        """None is required, and an empty one is none."""
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
            payouts = payouts.saying(words)
        return payouts.filter(**lookups)


class BoundedPaginator(Paginator):
    """Counts no further than the limit, so that a count never reads a whole table."""

    limit = COUNT_LIMIT

    @cached_property
    def count(self) -> int:
        payouts: Any = self.object_list
        return payouts.order_by()[: self.limit].count()


class PayoutPagination(PageNumberPagination):
    """By cursor, whose cost does not grow with the table, or by number when the caller asks for `page`."""

    django_paginator_class = BoundedPaginator
    page_size = 50
    max_page_size = 100
    page_size_query_param = "page_size"
    page_query_description = "The number of a page, instead of a cursor."
    page_size_query_description = f"Payouts on a page, 1 to {max_page_size}."

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        if self.page_query_param not in request.query_params:
            return self._beyond_cursor(queryset, request)
        try:
            return super().paginate_queryset(queryset, request, view) or []
        except NotFound as error:
            raise ValidationError({self.page_query_param: [error.detail]}) from error

    def get_paginated_response(self, data: Any) -> Response:
        if hasattr(self, "page"):
            return super().get_paginated_response(data)
        return Response({"next": self.next, "previous": self.previous, "results": data})

    def _beyond_cursor(self, queryset: QuerySet, request: Request) -> list[Any]:
        size = self.get_page_size(request) or self.page_size
        order = str((queryset.query.order_by or queryset.model._meta.ordering)[0])
        token = request.query_params.get("cursor")
        backwards = False
        if token:
            try:
                # Signed by us, and for this order, so that what is in it needs no other check.
                value, pk, backwards = signing.loads(token, salt=f"payouts.cursor.{order}")
            except signing.BadSignature as error:
                raise ValidationError({"cursor": [_("Not a cursor of this list.")]}) from error
            queryset = beyond(queryset, order, value, pk, backwards=backwards)
        # One row more than the page tells whether there is another page.
        rows = list((queryset.reverse() if backwards else queryset)[: size + 1])
        more, rows = len(rows) > size, rows[:size]
        if backwards:
            rows.reverse()
        has_next, has_previous = (True, more) if backwards else (more, bool(token))
        self.next = link(request, order, rows[-1], backwards=False) if rows and has_next else None
        self.previous = link(request, order, rows[0], backwards=True) if rows and has_previous else None
        return rows

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        description = "Where a page begins; taken from `next` or `previous`."
        cursor = {"name": "cursor", "in": "query", "description": description, "schema": {"type": "string"}}
        page, size = super().get_schema_operation_parameters(view)
        page["schema"]["minimum"] = 1
        parameters: list[dict[str, Any]] = [cursor, page, size]
        for parameter in parameters:
            parameter["schema"]["allow_empty_value"] = True
        return parameters

    def get_paginated_response_schema(self, schema: Any) -> dict[str, Any]:
        return {**super().get_paginated_response_schema(schema), "required": ["next", "previous", "results"]}


def link(request: Request, order: str, edge: Any, *, backwards: bool) -> str:
    cursor = (str(getattr(edge, order.removeprefix("-"))), str(edge.pk), backwards)
    token = signing.dumps(cursor, salt=f"payouts.cursor.{order}")
    return replace_query_param(request.build_absolute_uri(), "cursor", token)


def beyond(queryset: QuerySet, order: str, value: str, pk: str, *, backwards: bool) -> QuerySet:
    """Compares both columns as one row: an index serves that, and equal values neither repeat nor get lost."""
    here, there = row(order.removeprefix("-"), "id"), row(Value(value), Value(pk))
    ascending = order.startswith("-") == backwards
    return queryset.filter(GreaterThan(here, there) if ascending else LessThan(here, there))
