"""How a list is cut into pages whose cost does not grow with the table."""

from functools import partial

from django.core.paginator import Paginator
from django.db import models
from django.db.models import Func, QuerySet, Value
from django.db.models.lookups import GreaterThan, LessThan
from django.utils.functional import cached_property

row = partial(Func, function="ROW", output_field=models.Field())


def beyond(queryset: QuerySet, order: str, value: str, pk: str, *, backwards: bool) -> QuerySet:
    """
    What comes after this value and id in that order.

    Both columns are compared as one row. An index serves that, and equal values neither repeat nor get lost.
    """
    here, there = row(order.removeprefix("-"), "id"), row(Value(value), Value(pk))
    is_descending = order.startswith("-")
    # Forwards in an ascending order, or backwards in a descending one, what comes next is greater.
    comparison = GreaterThan if is_descending is backwards else LessThan
    return queryset.filter(comparison(here, there))


class BoundedPaginator(Paginator):
    """Counts no further than the limit, so that a count never reads a whole table."""

    limit: int

    @cached_property
    def count(self) -> int:
        rows: QuerySet = self.object_list  # type: ignore[assignment]
        return rows.order_by()[: self.limit].count()
