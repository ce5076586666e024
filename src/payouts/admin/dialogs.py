"""The buttons of a payout's page: one for each transition that a person may make, derived from the machine."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action

from payouts import machine
from payouts.admin.forms import OVERTAKEN, ReasonForm, RetryForm, SettleForm
from payouts.admin.states import DOUBT, PENDING, UNSENT, WAITS, state
from payouts.bell import announce
from payouts.machine import Status, Transition, Who
from payouts.models import Payout
from runtime.requests import author

# name -> title, warning, icon
WORDS: dict[str, tuple[Any, Any, str]] = {
    "settle_doubt": (
        _("Settle the unknown outcome"),
        _("Only with the gateway's word for it: what it has paid and you call failed may be paid twice."),
        "gavel",
    ),
    "send_again": (
        _("Send it again"),
        _("Only with the gateway's word that it has booked nothing under this key: otherwise it is paid twice."),
        "send",
    ),
    "look": (_("Ask whether it came back"), _("A worker asks the gateway, and pays nothing."), "search"),
    "settle": (_("Settle by hand"), _("It was paid or refused elsewhere; no worker pays it."), "gavel"),
    "retry": (
        _("Send back to NEW"),
        _(
            "It is paid again, under a new key: not if the failure reason says that it was paid."
            " What you leave empty stays as it was."
        ),
        "replay",
    ),
    "cancel": (_("Cancel the payout"), _("It is never paid."), "block"),
}


# What a dialog remembers of the payout.
SEEN = ("key", "attempt")
# Which verb of the queryset makes the transition.
VERBS: dict[str, Any] = {
    "settle_doubt": Payout.objects.settle_doubt,
    "send_again": Payout.objects.send_again,
    "look": Payout.objects.look_again,
}
# What is offered of a PROCESSING one. All else follows from the table of the machine.
OF_STAGE = {
    WAITS: ("settle_doubt", "send_again"),
    DOUBT: ("settle_doubt",),
    PENDING: ("settle_doubt",),
    UNSENT: ("settle_doubt",),
}


def offered(payout: Payout) -> tuple[str, ...]:
    """The transitions that a person may make of it now."""
    if payout.deleted_at or payout.status == Status.PROCESSING:
        return OF_STAGE.get(state(payout)[0], ())
    rows = machine.transitions(source=payout.status, who=[*machine.PEOPLE, Who.PROVIDERS_WORD])
    return machine.names(row for row in rows if row.name != "look" or payout.gateway)


def dialog(name: str) -> Any:
    """A button that asks for a reason, and for the outcome if there are several, and makes one guarded UPDATE."""
    rows = [row for row in machine.transitions(name) if row.who != Who.WORKER]
    title, warning, icon = WORDS[name]
    form_class = SettleForm if len(rows) > 1 else RetryForm if name == "retry" else ReasonForm

    def act(self: Any, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        payout = self.get_object(request, object_id)
        if payout and str(payout.gateway_key) == form.cleaned_data["key"] and make(rows, payout, form, author(request)):
            messages.success(request, _("Done. The history names you and your reason."))
        else:
            messages.error(request, OVERTAKEN)
        page = reverse("admin:payouts_payout_change", args=[object_id])
        # A dialog may have a tab of its own.
        return HttpResponse(headers={"HX-Redirect": page}) if "HX-Request" in request.headers else redirect(page)

    act.__name__ = name
    window = {"title": title, "description": warning, "form_class": form_class, "form_submit_text": title}
    permissions = ["view", "change" if rows[0].who == Who.PERSON else "settle"]
    return action(description=title, dialog=window, permissions=permissions, icon=icon)(act)


def make(rows: list[Transition], payout: Payout, form: ReasonForm, by: str) -> bool:
    """Makes the transition, unless the payout has got another key or another attempt since the dialog was opened."""
    # What is left empty stays as it was.
    fields = {
        name: form.cleaned_data[name]
        for name in form.base_fields
        if name not in SEEN and not name.startswith("_") and form.cleaned_data[name] not in ("", None)
    }
    if rows[0].source != rows[0].target:
        # Where there are several, the person has chosen one in the form.
        fields.setdefault("status", rows[0].target)
    verb = VERBS.get(rows[0].name, Payout.objects.change)
    if not verb(payout.pk, fields, by=by, submission=payout.submission, attempt=form.cleaned_data["attempt"]):
        return False
    if rows[0].name in ("retry", "send_again", "look"):
        announce(payout)
    return True


class Dialogs:
    actions_detail = tuple(WORDS)
    settle_doubt = dialog("settle_doubt")
    send_again = dialog("send_again")
    look = dialog("look")
    settle = dialog("settle")
    retry = dialog("retry")
    cancel = dialog("cancel")

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        payout = self.get_object(request, object_id)  # type: ignore[attr-defined]
        names = offered(payout) if payout else ()
        actions: list[Any] = super().get_actions_detail(request, object_id)  # type: ignore[misc]
        return [each for each in actions if each.path in names]

    def has_settle_permission(self, request: HttpRequest, *args: Any) -> bool:
        return bool(request.user.has_perm("payouts.settle_payout"))
