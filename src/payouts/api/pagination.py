"""How a list of payouts is cut into pages."""

from typing import Any

from django.core import signing
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from payouts.querysets import COUNT_LIMIT
from runtime.pages import BoundedPaginator, beyond


class CountedPaginator(BoundedPaginator):
    limit = COUNT_LIMIT


class PayoutPagination(PageNumberPagination):
    """By cursor, whose cost does not grow with the table, or by number when the caller asks for `page`."""

    django_paginator_class = CountedPaginator
    page_size = 50
    max_page_size = 100
    page_size_query_param = "page_size"
    page_query_description = "The number of a page, instead of a cursor."
    page_size_query_description = f"Payouts on a page, 1 to {max_page_size}."

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        if self.page_query_param not in request.query_params:
            return self._page_by_cursor(queryset, request)
        try:
            return super().paginate_queryset(queryset, request, view) or []
        except NotFound as error:
            raise ValidationError({self.page_query_param: [error.detail]}) from error

    def get_paginated_response(self, data: Any) -> Response:
        if hasattr(self, "page"):
            return super().get_paginated_response(data)
        return Response({"next": self.next, "previous": self.previous, "results": data})

    def _page_by_cursor(self, queryset: QuerySet, request: Request) -> list[Any]:
        size = self.get_page_size(request) or self.page_size
        order = str((queryset.query.order_by or queryset.model._meta.ordering)[0])
        token, backwards = request.query_params.get("cursor"), False
        if token:
            value, pk, backwards = read_cursor(token, order)
            queryset = beyond(queryset, order, value, pk, backwards=backwards)
        # One row more than the page shows whether there is another page.
        rows = list((queryset.reverse() if backwards else queryset)[: size + 1])
        is_cut, rows = len(rows) > size, rows[:size]
        if backwards:
            rows.reverse()
        has_next, has_previous = (True, is_cut) if backwards else (is_cut, bool(token))
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


def salt(order: str) -> str:
    """A cursor is signed for one order. So what is in it needs no other check."""
    return f"payouts.cursor.{order}"


def read_cursor(token: str, order: str) -> tuple[str, str, bool]:
    try:
        value, pk, backwards = signing.loads(token, salt=salt(order))
    except signing.BadSignature as error:
        raise ValidationError({"cursor": [_("Not a cursor of this list.")]}) from error
    return value, pk, backwards


def link(request: Request, order: str, edge: Any, *, backwards: bool) -> str:
    cursor = (str(getattr(edge, order.removeprefix("-"))), str(edge.pk), backwards)
    token = signing.dumps(cursor, salt=salt(order))
    return replace_query_param(request.build_absolute_uri(), "cursor", token)
