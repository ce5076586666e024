"""What a person may see of a payout, and what becomes of a question that has no answer."""

from typing import Any

from django.contrib import messages
from django.db import DataError, OperationalError, ProgrammingError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext_lazy as _
from psycopg.errors import QueryCanceled

from runtime.cards import mask

# Whoever writes text can write a card's number into it.
MASKED = ("recipient_details", "comment", "failure_reason", "note")
# What PostgreSQL or `datetime` raises for an address that somebody has edited.
UNUSABLE = (DataError, OverflowError, ProgrammingError, ValueError)
UNANSWERED = (OperationalError, *UNUSABLE)


def masked_names(request: HttpRequest) -> tuple[str, ...]:
    return () if request.user.has_perm("payouts.view_card_numbers") else MASKED


def mask_for(request: HttpRequest, payout: Any) -> Any:
    """Masks in place what this person may not see: not to be saved."""
    values = {name: mask(getattr(payout, name)) for name in masked_names(request)}
    payout.hidden = [name for name, value in values.items() if value != getattr(payout, name)]
    vars(payout).update(values)
    return payout


def explain(request: HttpRequest, error: Exception) -> None:
    """Says on the next page why there is no answer."""
    if isinstance(error, UNUSABLE):
        messages.error(request, _("These filters cannot be used."))
    elif isinstance(error.__cause__, QueryCanceled):
        messages.error(request, _("This takes too long. Narrow it by user or dates."))
    else:
        raise error


def explain_on_start_page(request: HttpRequest, error: Exception) -> HttpResponse:
    explain(request, error)
    return redirect("admin:index")
