"""A payout's own page: what is shown, what may be corrected, and what happened to it."""

import json
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from payouts.admin.access import mask_for, masked_names
from payouts.admin.formats import format_time
from payouts.admin.forms import KEY, OVERTAKEN, DetailsField, PayoutForm, TextField, column
from payouts.admin.states import outlook, state
from payouts.machine import MONEY, Status, statuses_for
from payouts.models import TIMES, Payout, PayoutChange
from runtime.admin import wrap
from runtime.cards import mask
from runtime.requests import author

EDITABLE = (*MONEY, "comment")
SHOWN = (*EDITABLE, "failure_reason", "failure_code", "gateway", "gateway_reference", "note", "attempt")
CHANGES_SHOWN = 200


class PayoutPage:
    form = PayoutForm
    formfield_overrides = {
        models.JSONField: {"form_class": DetailsField, "widget": UnfoldAdminTextareaWidget},
        models.TextField: {"form_class": TextField, "widget": UnfoldAdminTextareaWidget},
    }
    change_form_outer_after_template = "payouts/history.html"

    @display(description=_("status"))
    def state_name(self, payout: Payout) -> Any:
        return state(payout)[1]

    @display(description=_("recipient details"))
    def details(self, payout: Payout) -> str:
        lines = json.dumps(payout.recipient_details, ensure_ascii=False, indent="\u00a0\u00a0")[2:-2]
        return wrap(lines)

    @display(description=KEY)
    def key(self, payout: Payout) -> str:
        return str(payout.gateway_key)

    @display(description=_("what happens next"))
    def outlook(self, payout: Payout) -> str:
        return outlook(payout)

    def get_object(self, request: HttpRequest, *args: Any) -> Payout | None:
        payout = super().get_object(request, *args)  # type: ignore[misc]
        return payout and mask_for(request, payout)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        may_change = self.has_change_permission(request)  # type: ignore[attr-defined]
        names = changeable(obj) if may_change else []
        shown = ["details" if name == "recipient_details" and name not in names else name for name in SHOWN]
        return ["state_name", "outlook", *shown, "key", "caller", *TIMES, *(["seen"] if names else [])]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [name for name in self.get_fields(request, obj) if name not in (*changeable(obj), "seen")]

    def changeform_view(self, request: HttpRequest, object_id: Any = None, *args: Any, **kwargs: Any) -> HttpResponse:
        payout = self.get_object(request, object_id)
        buttons = {"show_save": bool(payout and changeable(payout)), "show_save_and_continue": False}
        extra = {"table": payout and history(request, payout), "show_history": False, **buttons}
        try:
            return super().changeform_view(request, object_id, extra_context=extra)  # type: ignore[misc]
        except ValidationError as error:
            messages.error(request, error.message)
            return redirect(request.path)

    def save_model(self, request: HttpRequest, obj: Payout, form: Any, change: Any) -> None:
        fields = {name: form.cleaned_data[name] for name in form.changed_data}
        seen = {"updated_at": obj.updated_at}
        if fields and not Payout.objects.change(obj.pk, fields, by=author(request), **seen):
            raise ValidationError(OVERTAKEN)


def changeable(payout: Any) -> list[str]:
    """What may be changed now, of what this person sees unmasked."""
    if payout.deleted_at:
        return []
    return [name for name in EDITABLE if payout.status in statuses_for({name: None}) and name not in payout.hidden]


def history(request: HttpRequest, payout: Payout) -> dict[str, Any]:
    """The newest change first: that is what people come for."""
    hidden = masked_names(request)
    rows = []
    for change in PayoutChange.objects.filter(payout_id=payout.pk).order_by("-id")[:CHANGES_SHOWN]:
        values = {name: mask(new) if name in hidden else new for name, new in change.changes.items()}
        if "status" in values:
            values["status"] = Status(values["status"]).label
        # The other columns are for workers, and tell a person nothing.
        names = [name for name in ("status", *SHOWN, "deleted_at") if values.get(name) not in (None, "")]
        if what := "; ".join(f"{column(name).verbose_name}: {values[name]}" for name in names):
            rows.append([format_time(change.at), wrap(what), wrap(change.changed_by)])
    return {"headers": [_("when"), _("what"), _("who")], "rows": rows}
