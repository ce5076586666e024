"""The list of payouts: its columns, filters and search."""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.utils.timezone import get_current_timezone
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesCheckboxFilter, RadioFilter, RangeDateFilter, RangeNumericFilter
from unfold.decorators import display

from payouts.admin.access import MASKED, UNANSWERED, explain_on_start_page
from payouts.admin.formats import format_money, format_time
from payouts.admin.states import COLOURS, state
from payouts.models import Payout
from runtime.cards import CARD_NUMBER, mask_text
from runtime.pages import BoundedPaginator

# A guess at what is masked can be compared with the last one.
UNFILTERED = (*MASKED, "fingerprint")
COMMENT_SHOWN = 60


class ShortPaginator(BoundedPaginator):
    """Whoever looks at more than twenty pages is quicker with a filter or the export."""

    limit = 1000


class StuckFilter(RadioFilter):
    title = _("what is stuck")
    parameter_name = "stuck"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("doubt", _("Outcome unknown")),
            ("waits", _("Waits for a person")),
            ("pending", _("With the provider")),
            ("late", _("New for more than a minute")),
        ]

    def queryset(self, request: Any, queryset: Any) -> Any:
        stuck = {
            "doubt": queryset.in_doubt(),
            "waits": queryset.waiting_for_person(),
            "pending": queryset.pending(),
            "late": queryset.overdue(),
        }
        return stuck.get(self.value(), queryset)


class StatusFilter(ChoicesCheckboxFilter):
    def queryset(self, request: Any, queryset: Any) -> Any:
        """What was deleted has a status, but does not count."""
        payouts = super().queryset(request, queryset)
        return payouts.live() if self.value() else payouts


class DaysFilter(RangeDateFilter):
    """Whole days of the time zone; Unfold's own leaves out most of the last one."""

    def queryset(self, request: Any, queryset: Any) -> Any:
        for suffix, lookup, days in (("from", "gte", 0), ("to", "lt", 1)):
            try:
                # As the calendar beside it writes it, in the person's language.
                day = forms.DateField(required=False).clean(self.used_parameters.get(f"created_at_{suffix}"))
            except ValidationError as error:
                raise ValueError from error
            if day:
                begin = datetime(day.year, day.month, day.day, tzinfo=get_current_timezone()) + timedelta(days=days)
                queryset = queryset.filter(**{f"created_at__{lookup}": begin})
        return queryset


class PayoutList:
    list_display = ("created", "state", "money", "user_id", "short_comment", "id")
    list_filter = (
        StuckFilter,
        ("status", StatusFilter),
        ("currency", ChoicesCheckboxFilter),
        ("created_at", DaysFilter),
        ("amount", RangeNumericFilter),
    )
    list_filter_submit = True
    list_per_page = 50
    # To sort by anything else, or to count, would read the whole table.
    sortable_by = ("created",)
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = ShortPaginator
    search_fields = ("id",)
    search_help_text = _("Id, user, or words of the comment")
    actions = None
    actions_list = ("export",)

    @display(description=_("created"), ordering="created_at")
    def created(self, payout: Payout) -> str:
        return format_time(payout.created_at)

    @display(description=_("status"), label=COLOURS)
    def state(self, payout: Payout) -> tuple[str, Any]:
        return state(payout)

    @display(description=_("amount"))
    def money(self, payout: Payout) -> str:
        return format_money(payout.amount, payout.currency)

    @display(description=_("comment"))
    def short_comment(self, payout: Payout) -> str:
        return mask_text(payout.comment)[:COMMENT_SHOWN]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).with_stage()  # type: ignore[misc]

    def lookup_allowed(self, lookup: str, *args: Any) -> bool:
        # Otherwise one could ask, digit by digit, for what is not shown.
        return lookup.split("__", maxsplit=1)[0] not in UNFILTERED

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Searches only what has an index."""
        with suppress(ValueError):
            return queryset.filter(pk=UUID(search_term)), False
        if search_term.isdecimal() and (of_user := queryset.filter(user_id=search_term)).exists():
            return of_user, False
        if not search_term:
            return queryset, False
        payouts = queryset.matching(search_term)
        # Otherwise one could ask for what is not shown, four digits at a time.
        sees_all = request.user.has_perm("payouts.view_card_numbers")
        return payouts if sees_all else payouts.exclude(comment__regex=CARD_NUMBER), False

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        try:
            response: HttpResponse = super().changelist_view(request, extra_context)  # type: ignore[misc]
        except UNANSWERED as error:
            return explain_on_start_page(request, error)
        return response
