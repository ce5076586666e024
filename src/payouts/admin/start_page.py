"""The start page: the last 24 hours at a glance."""

import json
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import OperationalError, connection
from django.http import HttpRequest
from django.utils.timezone import localtime, now
from django.utils.translation import gettext_lazy as _

from payouts.admin.access import explain
from payouts.admin.formats import format_money
from payouts.machine import Status
from payouts.models import Payout
from payouts.statements import RECENT
from runtime.cards import mask_text

RECENT_LIMIT = 100_000
REASONS_SHOWN = 5
BAR_COLOURS = dict(zip(Status, ("#60a5fa", "#fb923c", "#22c55e", "#ef4444", "#9ca3af"), strict=True))
STACKED = {"maintainAspectRatio": False, "scales": {"x": {"stacked": True}, "y": {"stacked": True}}}


class Group(NamedTuple):
    hour: datetime | None
    status: str
    currency: str | None
    reason: str | None
    number: int
    total: Decimal


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    if request.user.has_perm("payouts.view_payout"):
        try:
            return {**context, "cards": cards(), **recent()}
        except OperationalError as error:
            explain(request, error)
    return context


def cards() -> list[tuple[Any, str, dict[str, Any]]]:
    payouts = Payout.objects
    return [
        (_("Waits for a person"), "stuck=waits", payouts.waiting_for_person().census("asked_at")),
        (_("Outcome unknown"), "stuck=doubt", payouts.in_doubt().census("asked_at")),
        (_("With the provider"), "stuck=pending", payouts.pending().census("pending_since")),
        (_("New"), "status__exact=NEW", payouts.waiting().census("due_at")),
        (_("Processing"), "status__exact=PROCESSING", payouts.processing().census("created_at")),
    ]


def recent() -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute(RECENT, [RECENT_LIMIT])
        groups = [Group(*row) for row in cursor.fetchall()]
    # Each group is of one grouping set: the columns by which that does not group are NULL.
    sums = [
        [Status(each.status).label, each.number, format_money(each.total, each.currency)]
        for each in groups
        if each.currency
    ]
    reasons = [[mask_text(each.reason), each.number] for each in groups if each.reason]
    numbers = {(each.hour, each.status): each.number for each in groups if each.hour}
    return {
        "sums": {"headers": [_("status"), _("payouts"), _("amount")], "rows": sums},
        "failures": {"headers": [_("reason"), _("payouts")], "rows": reasons[:REASONS_SHOWN]},
        "chart": chart(numbers),
        "stacked": json.dumps(STACKED),
        "limit": RECENT_LIMIT if sum(each.number for each in groups if each.currency) >= RECENT_LIMIT else None,
    }


def chart(numbers: dict[Any, int]) -> str:
    """A bar an hour, of how many payouts of each status were created in it."""
    this_hour = now().replace(minute=0, second=0, microsecond=0)
    hours = [this_hour - timedelta(hours=ago) for ago in range(23, -1, -1)]
    bars = [
        {"label": status.label, "backgroundColor": colour, "data": [numbers.get((hour, status), 0) for hour in hours]}
        for status, colour in BAR_COLOURS.items()
    ]
    return json.dumps({"labels": [f"{localtime(hour):%H:%M}" for hour in hours], "datasets": bars}, default=str)
