"""The list as a file for a spreadsheet."""

import csv
import json
import re
from collections.abc import Iterator
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.db import Error
from django.http import HttpRequest, StreamingHttpResponse
from django.shortcuts import redirect
from django.utils.timezone import localtime
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action

from payouts.admin.access import UNANSWERED, explain_on_start_page, mask_for
from payouts.admin.formats import format_time
from payouts.admin.payout_page import SHOWN
from payouts.models import TIMES
from runtime.pages import beyond

EXPORTED = ("id", "status", *SHOWN, *TIMES, "deleted_at")
PAGE_SIZE = 1000
# A spreadsheet would run it; in some countries it looks for cells between semicolons.
FORMULA = r"""(^|[;\t\r\n])(?="*[=+\-@\t\r])"""


class Export:
    @action(
        description=_("Export as CSV"),
        permissions=["view"],
        icon="download",
        attrs={"x-bind:href": "'export/' + location.search"},
    )
    def export(self: Any, request: HttpRequest) -> Any:
        try:
            payouts = self.get_changelist_instance(request).queryset.order_by("-created_at", "-id")
            first = list(payouts[:PAGE_SIZE])
        except IncorrectLookupParameters:
            return redirect("admin:payouts_payout_changelist")
        except UNANSWERED as error:
            return explain_on_start_page(request, error)
        # `writerow` returns what `write` does: here, the line.
        writer = csv.writer(SimpleNamespace(write=lambda line: line))
        lines = (writer.writerow(map(cell, row)) for row in rows(request, payouts, first))
        disposition = f"attachment; filename=payouts-{localtime():%Y-%m-%d-%H%M}.csv"
        return StreamingHttpResponse(lines, headers={"Content-Disposition": disposition}, content_type="text/csv")


def rows(request: HttpRequest, payouts: Any, page: list[Any]) -> Iterator[list[Any]]:
    """Page by page: a transaction as long as a download would keep PostgreSQL from cleaning up."""
    # The byte order mark tells spreadsheets that this is UTF-8.
    yield [f"\ufeff{EXPORTED[0]}", *EXPORTED[1:]]
    while page:
        last = str(page[-1].created_at), str(page[-1].pk)
        for payout in page:
            yield [getattr(mask_for(request, payout), name) for name in EXPORTED]
        try:
            page = list(beyond(payouts, "-created_at", *last, backwards=False)[:PAGE_SIZE])
        except Error:
            # Not every proxy tells that there should be more.
            yield [_("The export is not complete.")]
            raise


def cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return format_time(value)
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
    return re.sub(FORMULA, r"\1'", text) if isinstance(text, str) else text
