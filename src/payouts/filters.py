"""What can be asked of a list, and how it is cut into pages."""

from typing import Any, NamedTuple

from django import forms
from django.contrib.postgres.search import SearchQuery, SearchVector
from django.core import signing
from django.core.paginator import Paginator
from django.db import models
from django.db.models import F, Func, QuerySet, Value
from django.db.models.lookups import GreaterThan, LessThan
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _
from django_filters import rest_framework as filters
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from payouts.models import AMOUNT_DIGITS, AMOUNT_PLACES, Currency, Payout, PayoutQuerySet, Status
from payouts.serializers import PLAIN_NUMBER

ORDERINGS = [(sign + field, sign + field) for field in ("created_at", "amount") for sign in ("", "-")]
COUNT_LIMIT = 10_000
SEARCH_MAX_LENGTH = 200
CURSOR_SALT = "payouts.cursor"


class PlainNumberField(forms.DecimalField):
    def to_python(self, value: Any) -> Any:
        if value and not PLAIN_NUMBER.fullmatch(value):
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid")
        return super().to_python(value)


class NumberFilter(filters.NumberFilter):
    field_class = PlainNumberField


class PayoutFilter(filters.FilterSet):
    status = filters.MultipleChoiceFilter(choices=Status.choices, help_text="In any of these; may be repeated.")
    currency = filters.ChoiceFilter(choices=Currency.choices, help_text="In this currency.")
    user_id = NumberFilter(
        min_value=-models.BigIntegerField.MAX_BIGINT - 1,
        max_value=models.BigIntegerField.MAX_BIGINT,
        decimal_places=0,
        help_text="Of this user.",
    )
    amount_min = NumberFilter(
        "amount", "gte", max_digits=AMOUNT_DIGITS, decimal_places=AMOUNT_PLACES, help_text="At least this much."
    )
    amount_max = NumberFilter(
        "amount", "lte", max_digits=AMOUNT_DIGITS, decimal_places=AMOUNT_PLACES, help_text="At most this much."
    )
    created_after = filters.IsoDateTimeFilter("created_at", "gte", help_text="Created then or later.")
    created_before = filters.IsoDateTimeFilter("created_at", "lt", help_text="Created before that.")
    search = filters.CharFilter(
        method="find_words", max_length=SEARCH_MAX_LENGTH, help_text="All of these words are in the comment."
    )
    ordering = filters.ChoiceFilter(
        choices=ORDERINGS, method="sort", help_text="By this, then by id; `-created_at` unless said otherwise."
    )

    def find_words(self, queryset: PayoutQuerySet, _name: str, words: str) -> PayoutQuerySet:
        vector = SearchVector("comment", config="simple")
        return queryset.annotate(words=vector).filter(words=SearchQuery(words, config="simple"))

    def sort(self, queryset: PayoutQuerySet, _name: str, field: str) -> PayoutQuerySet:
        return queryset.order_by(field, "-id" if field.startswith("-") else "id")

    class Meta:
        model = Payout
        fields: tuple[str, ...] = ()


class BoundedPaginator(Paginator):
    """Counts no further than the limit, so that a count never reads a whole table."""

    @cached_property
    def count(self) -> int:
        payouts: Any = self.object_list
        return payouts.order_by()[:COUNT_LIMIT].count()


class Cursor(NamedTuple):
    """The row that a page lies beyond, by the column that orders the list and by id."""

    order: str
    value: str
    id: str
    backwards: bool

    def beyond(self, queryset: QuerySet) -> QuerySet:
        """Compares both columns as one row: an index serves that, and equal values neither repeat nor get lost."""
        field: Any = queryset.model._meta.get_field(self.order.removeprefix("-"))
        here = row(F(field.name), F("id"))
        there = row(Value(field.to_python(self.value)), Value(self.id))
        ascending = self.order.startswith("-") == self.backwards
        return queryset.filter(GreaterThan(here, there) if ascending else LessThan(here, there))


def row(*expressions: Any) -> Func:
    return Func(*expressions, function="ROW", output_field=models.Field())


class PayoutPagination(PageNumberPagination):
    """By cursor, whose cost does not grow with the table, or by number when the caller asks for `page`."""

    django_paginator_class = BoundedPaginator
    page_size = 50
    max_page_size = 100
    page_size_query_param = "page_size"
    cursor_query_param = "cursor"

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        if self.page_query_param in request.query_params:
            return self._numbered(queryset, request, view)
        return self._beyond_cursor(queryset, request)

    def get_paginated_response(self, data: Any) -> Response:
        if hasattr(self, "page"):
            return super().get_paginated_response(data)
        return Response({"next": self.next, "previous": self.previous, "results": data})

    def _numbered(self, queryset: QuerySet, request: Request, view: Any) -> list[Any]:
        try:
            return super().paginate_queryset(queryset, request, view) or []
        except NotFound as error:
            raise ValidationError({self.page_query_param: [error.detail]}) from error

    def _beyond_cursor(self, queryset: QuerySet, request: Request) -> list[Any]:
        size = self.get_page_size(request) or self.page_size
        order = str((queryset.query.order_by or queryset.model._meta.ordering)[0])
        cursor = self._read(request, order)
        backwards = cursor is not None and cursor.backwards
        if cursor:
            queryset = cursor.beyond(queryset)
        # One row more than the page tells whether there is another page.
        rows = list((queryset.reverse() if backwards else queryset)[: size + 1])
        more, rows = len(rows) > size, rows[:size]
        if backwards:
            rows.reverse()
        has_next, has_previous = (True, more) if backwards else (more, cursor is not None)
        self.next = self._link(request, order, rows[-1], backwards=False) if rows and has_next else None
        self.previous = self._link(request, order, rows[0], backwards=True) if rows and has_previous else None
        return rows

    def _read(self, request: Request, order: str) -> Cursor | None:
        token = request.query_params.get(self.cursor_query_param)
        if not token:
            return None
        try:
            # Signed by us, so that what is in it needs no other check.
            cursor = Cursor(*signing.loads(token, salt=CURSOR_SALT))
        except signing.BadSignature:
            cursor = None
        if cursor is None or cursor.order != order:
            raise ValidationError({self.cursor_query_param: [_("Not a cursor of this list.")]})
        return cursor

    def _link(self, request: Request, order: str, last: Any, *, backwards: bool) -> str:
        value = getattr(last, order.removeprefix("-"))
        token = signing.dumps(Cursor(order, str(value), str(last.pk), backwards), salt=CURSOR_SALT)
        return replace_query_param(request.build_absolute_uri(), self.cursor_query_param, token)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        integer, text = {"type": "integer"}, {"type": "string"}
        return [
            {"name": name, "in": "query", "description": description, "schema": schema}
            for name, description, schema in (
                ("cursor", "Where a page begins; taken from `next` or `previous`.", text),
                ("page", "The number of a page, instead of a cursor.", integer),
                ("page_size", f"Payouts on a page, 1 to {self.max_page_size}.", integer),
            )
        ]

    def get_paginated_response_schema(self, schema: Any) -> dict[str, Any]:
        return {**super().get_paginated_response_schema(schema), "required": ["next", "previous", "results"]}
