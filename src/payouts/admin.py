"""The back office's window: what it shows of the payouts, and the few changes that a person may make."""

import csv
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db import DataError, Error, OperationalError, ProgrammingError, connection, models
from django.db.models.functions import Now
from django.forms.fields import InvalidJSONInput
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.timezone import get_current_timezone, localtime, now
from django.utils.translation import gettext_lazy as _
from psycopg.errors import QueryCanceled
from rest_framework.exceptions import ParseError
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import ChoicesCheckboxFilter, RadioFilter, RangeDateFilter, RangeNumericFilter
from unfold.decorators import action, display
from unfold.forms import AdminPasswordChangeForm, BaseDialogForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminRadioSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from config import tracing
from config.api import read_json
from config.tracing import CARD_NUMBER, masked
from payouts.bell import ring
from payouts.filters import BoundedPaginator, beyond
from payouts.models import AMOUNT_MIN, MONEY, PAID_OR_REFUSED, TIMES, Payout, PayoutChange, Status, Token, statuses_for

EDITABLE = (*MONEY, "comment")
SHOWN = (*EDITABLE, "failure_reason", "gateway_reference", "note", "attempt")
EXPORTED = ("id", "status", *SHOWN, *TIMES, "deleted_at")
EXPORTED_AT_ONCE = 1000
# Whoever writes text can write a card's number into it.
MASKED = ("recipient_details", "comment", "failure_reason", "note")
# A guess at what is masked can be compared with the last one.
UNFILTERED = (*MASKED, "fingerprint")
# A spreadsheet would run it; in some countries it looks for cells between semicolons.
FORMULA = r"""(^|[;\t\r\n])(?="*[=+\-@\t\r])"""
CHANGES_SHOWN = 200
DOUBT = "DOUBT"
# Otherwise Unfold would show the code, not the label, of a status that has no colour.
LABELS = dict.fromkeys(("", *Status)) | {
    Status.NEW: "info",
    DOUBT: "warning",
    Status.COMPLETED: "success",
    Status.FAILED: "danger",
}
OFFERED = {Status.NEW: ("cancel", "settle"), Status.FAILED: ("send_back",), DOUBT: ("settle_doubt",)}
OVERTAKEN = _("Nothing was changed: a worker or somebody else has changed the payout meanwhile. Open its page anew.")
# What happens next, for whoever has never seen the code.
OUTLOOKS = {
    Status.NEW: _("A worker takes it as soon as one is free, usually within seconds."),
    Status.PROCESSING: _("A worker asks the gateway. Should it die, another one asks at %(at)s."),
    Status.FAILED: _("It was not paid, and will not be unless somebody sends it back to NEW."),
    DOUBT: _(
        "Nobody knows yet whether it was paid. Tries so far: %(attempt)s. The last one: %(note)s. The next one: %(at)s,"
        " or as soon as a worker is free. If you cannot wait, ask the gateway's people about the key below, and then"
        " settle it, for which there is a button above if you may."
    ),
    "": _("It was deleted: no worker pays it."),
}
field: Any = Payout._meta.get_field


def never(_admin: Any, request: Any, *_args: Any, **_kwargs: Any) -> bool:
    return False


def moment(value: datetime | None) -> str:
    return f"{localtime(value):%Y-%m-%d %H:%M:%S}" if value else ""


def wrapped(text: str) -> str:
    """A phone is too narrow for a long word."""
    return format_html('<span style="overflow-wrap: anywhere; white-space: pre-line">{}</span>', text)


def money(amount: Decimal, currency: str) -> str:
    return f"{number_format(amount, 2, force_grouping=True)}\u00a0{currency}"


# What PostgreSQL or `datetime` raises for an address that somebody has edited.
UNUSABLE = (DataError, OverflowError, ProgrammingError, ValueError)


def explain(request: HttpRequest, error: Exception) -> HttpResponse:
    """Says on the start page why there is no list."""
    if isinstance(error, UNUSABLE):
        messages.error(request, _("These filters cannot be used."))
    elif isinstance(error.__cause__, QueryCanceled):
        messages.error(request, _("This takes too long. Narrow it by user or dates."))
    else:
        raise error
    return redirect("admin:index")


def mask_for(request: HttpRequest, payout: Any) -> Any:
    """Masks in place what this person may not see: not to be saved."""
    names = () if request.user.has_perm("payouts.view_card_numbers") else MASKED
    shown = {name: masked(getattr(payout, name)) for name in names}
    payout.hidden = [name for name in names if shown[name] != getattr(payout, name)]
    vars(payout).update(shown)
    return payout


class ShortPaginator(BoundedPaginator):
    """Whoever looks at more than twenty pages is quicker with a filter or the export."""

    limit = 1000


class StuckFilter(RadioFilter):
    title = _("what is stuck")
    parameter_name = "stuck"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, Any]]:
        return [("doubt", _("Outcome unknown")), ("late", _("New for more than a minute"))]

    def queryset(self, request: Any, queryset: Any) -> Any:
        late = queryset.live().filter(status=Status.NEW, updated_at__lt=Now() - timedelta(minutes=1))
        return {"doubt": queryset.in_doubt(), "late": late}.get(self.value(), queryset)


class StatusFilter(ChoicesCheckboxFilter):
    def queryset(self, request: Any, queryset: Any) -> Any:
        """What was deleted has a status, but does not count."""
        found = super().queryset(request, queryset)
        return found.live() if self.value() else found


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


class DetailsField(forms.JSONField):
    # Django asks a model's validators only in a model's form.
    default_validators = field("recipient_details").validators
    # Not {}, which is wrong.
    empty_values = ("", None)

    def to_python(self, value: Any) -> Any:
        """Takes what the API takes."""
        if value not in self.empty_values:
            if "**** " in value:
                raise ValidationError(_("Asterisks stand for digits that you may not see; nobody can be paid there."))
            try:
                read_json(value.encode())
            except ParseError as error:
                raise ValidationError(str(error)) from error
        return super().to_python(value)

    def bound_data(self, data: Any, initial: Any) -> Any:
        """As it was typed: Django would write it anew, and no page can hold a lone surrogate."""
        return InvalidJSONInput(data)


class TextField(forms.CharField):
    def to_python(self, value: Any) -> Any:
        """With its own line breaks: those of a browser would count twice."""
        return super().to_python((value or "").replace("\r\n", "\n"))


class PayoutForm(forms.ModelForm):
    seen = forms.CharField(widget=forms.HiddenInput, required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["seen"] = self.instance.updated_at.isoformat()

    def clean(self) -> None:
        if self.cleaned_data.get("seen") != self.initial["seen"]:
            raise ValidationError(OVERTAKEN)


KEY = _("The gateway's key")
SHORT = UnfoldAdminTextareaWidget(attrs={"rows": 3})


class ReasonForm(BaseDialogForm):
    # What the gateway says of one key says nothing of the next one, which it may have got meanwhile.
    key = forms.CharField(widget=forms.HiddenInput)
    note = field("note").formfield(form_class=TextField, label=_("Reason"), widget=SHORT)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        try:
            self.initial["key"] = Payout.objects.get(pk=self.object_id).key
        except (Payout.DoesNotExist, ValidationError) as error:
            raise Http404 from error

    def clean_note(self) -> str:
        return tracing.without_card_numbers(self.cleaned_data["note"])


class SendBackForm(ReasonForm):
    amount = field("amount").formfield(
        required=False, min_value=AMOUNT_MIN, localize=True, widget=UnfoldAdminTextInputWidget
    )
    recipient_details = field("recipient_details").formfield(
        form_class=DetailsField, required=False, widget=SHORT, initial=InvalidJSONInput("")
    )
    field_order = ("amount", "recipient_details")


class SettleForm(ReasonForm):
    choices = [(status, status.label) for status in PAID_OR_REFUSED]
    status = forms.ChoiceField(label=_("Outcome"), choices=choices, widget=UnfoldAdminRadioSelectWidget)
    key = forms.CharField(label=KEY, required=False, widget=UnfoldAdminTextInputWidget(attrs={"readonly": True}))
    gateway_reference = field("gateway_reference").formfield(widget=UnfoldAdminTextInputWidget)
    field_order = ("key", "status", "gateway_reference")


def by_hand(name: str, title: Any, warning: Any, icon: str, target: Status | None = None) -> Any:
    """A button that asks for a reason, and for the outcome unless there is a target, and makes one guarded UPDATE."""

    def act(self: Any, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        tracing.actor.set(request.user.get_username())
        said = {key: form.cleaned_data[key] for key in form.base_fields if not key.startswith("_")}
        key = said.pop("key")
        asked = {key: value for key, value in said.items() if value not in ("", None)}
        fields = {"status": target, **asked}
        change = Payout.objects.settle if name == "settle_doubt" else Payout.objects.change
        payout = self.get_object(request, object_id)
        if payout and payout.key == key and change(payout.pk, fields, submission=payout.submission):
            messages.success(request, _("Done. The history names you and your reason."))
            if target == Status.NEW:
                ring(payout)
        else:
            messages.error(request, OVERTAKEN)
        page = reverse("admin:payouts_payout_change", args=[object_id])
        # A dialog may have a tab of its own.
        return HttpResponse(headers={"HX-Redirect": page}) if "HX-Request" in request.headers else redirect(page)

    act.__name__ = name
    form = {None: SettleForm, Status.NEW: SendBackForm}.get(target, ReasonForm)
    dialog = {"title": title, "description": warning, "form_class": form, "form_submit_text": title}
    permissions = ["view", "change" if target else "settle"]
    return action(description=title, dialog=dialog, permissions=permissions, icon=icon)(act)


@admin.register(Payout)
class PayoutAdmin(ModelAdmin):
    form = PayoutForm
    formfield_overrides = {
        models.JSONField: {"form_class": DetailsField, "widget": UnfoldAdminTextareaWidget},
        models.TextField: {"form_class": TextField, "widget": UnfoldAdminTextareaWidget},
    }
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
    actions_detail = ("settle_doubt", "settle", "send_back", "cancel")
    change_form_outer_after_template = "payouts/history.html"
    has_add_permission = has_delete_permission = never

    settle_doubt = by_hand(
        "settle_doubt",
        _("Settle the unknown outcome"),
        _(
            "Only with the gateway's word for it: what it has paid and you call failed may be paid twice."
            " A worker may be asking at this moment."
        ),
        "gavel",
    )
    settle = by_hand("settle", _("Settle by hand"), _("It was paid or refused elsewhere; no worker pays it."), "gavel")
    send_back = by_hand(
        "send_back",
        _("Send back to NEW"),
        _(
            "It is paid again, under a new key: not if the failure reason says that it was paid."
            " What you leave empty stays as it was."
        ),
        "replay",
        Status.NEW,
    )
    cancel = by_hand("cancel", _("Cancel the payout"), _("It is never paid."), "block", Status.CANCELLED)

    def has_settle_permission(self, request: HttpRequest, *args: Any) -> bool:
        return request.user.has_perm("payouts.settle_payout")

    @display(description=_("created"), ordering="created_at")
    def created(self, payout: Payout) -> str:
        return moment(payout.created_at)

    @display(description=_("status"), label=LABELS)
    def state(self, payout: Payout) -> tuple[str, Any]:
        if payout.deleted_at:
            return "", _("Deleted")
        return (DOUBT, _("Outcome unknown")) if payout.is_in_doubt else (payout.status, payout.get_status_display())

    @display(description=_("status"))
    def state_in_words(self, payout: Payout) -> Any:
        return self.state(payout)[1]

    @display(description=_("amount"))
    def money(self, payout: Payout) -> str:
        return money(payout.amount, payout.currency)

    @display(description=_("comment"))
    def short_comment(self, payout: Payout) -> str:
        return masked(payout.comment)[:60]

    @display(description=_("recipient details"))
    def details(self, payout: Payout) -> str:
        lines = json.dumps(payout.recipient_details, ensure_ascii=False, indent="\u00a0\u00a0")[2:-2]
        return wrapped(lines)

    @display(description=KEY)
    def key(self, payout: Payout) -> str:
        return payout.key

    @display(description=_("what happens next"))
    def outlook(self, payout: Payout) -> str:
        known = {"attempt": payout.attempt, "note": payout.note or "—", "at": moment(payout.lease_until)}
        return OUTLOOKS.get(self.state(payout)[0], _("Nothing.")) % known

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
        found = queryset.saying(search_term)
        # Otherwise one could ask for what is not shown, four digits at a time.
        whole = request.user.has_perm("payouts.view_card_numbers")
        return found if whole else found.exclude(comment__regex=CARD_NUMBER), False

    def get_object(self, request: HttpRequest, *args: Any) -> Payout | None:
        payout = super().get_object(request, *args)
        return payout and mask_for(request, payout)

    def changeable(self, payout: Any) -> list[str]:
        """What may be changed now, of what this person sees unmasked."""
        if payout.deleted_at:
            return []
        return [name for name in EDITABLE if payout.status in statuses_for({name: None}) and name not in payout.hidden]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        changeable = self.changeable(obj) if self.has_change_permission(request) else []
        shown = ["details" if name == "recipient_details" and name not in changeable else name for name in SHOWN]
        return ["state_in_words", "outlook", *shown, "key", "caller", *TIMES, *(["seen"] if changeable else [])]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [name for name in self.get_fields(request, obj) if name not in (*self.changeable(obj), "seen")]

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        payout = self.get_object(request, object_id)
        offered = OFFERED.get(self.state(payout)[0], ()) if payout else ()
        return [each for each in super().get_actions_detail(request, object_id) if each.path in offered]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        try:
            return super().changelist_view(request, extra_context)
        except (OperationalError, *UNUSABLE) as error:
            return explain(request, error)

    def changeform_view(self, request: HttpRequest, object_id: Any = None, *args: Any, **kwargs: Any) -> HttpResponse:
        payout = self.get_object(request, object_id)
        buttons = {"show_save": bool(payout and self.changeable(payout)), "show_save_and_continue": False}
        extra = {"table": payout and history(request, payout), "show_history": False, **buttons}
        try:
            return super().changeform_view(request, object_id, extra_context=extra)
        except ValidationError as error:
            messages.error(request, error.message)
            return redirect(request.path)

    def save_model(self, request: HttpRequest, obj: Payout, form: Any, change: Any) -> None:
        tracing.actor.set(request.user.get_username())
        fields = {name: form.cleaned_data[name] for name in form.changed_data}
        if fields and not Payout.objects.change(obj.pk, fields, updated_at=obj.updated_at):
            raise ValidationError(OVERTAKEN)

    @action(
        description=_("Export as CSV"),
        permissions=["view"],
        icon="download",
        attrs={"x-bind:href": "'export/' + location.search"},
    )
    def export(self, request: HttpRequest) -> Any:
        try:
            found = self.get_changelist_instance(request).queryset.order_by("-created_at", "-id")
            first = list(found[:EXPORTED_AT_ONCE])
        except IncorrectLookupParameters:
            return redirect("admin:payouts_payout_changelist")
        except (OperationalError, *UNUSABLE) as error:
            return explain(request, error)
        # `writerow` returns what `write` does: here, the line.
        writer = csv.writer(SimpleNamespace(write=lambda line: line))
        lines = (writer.writerow(map(cell, row)) for row in rows(request, found, first))
        disposition = f"attachment; filename=payouts-{localtime():%Y-%m-%d-%H%M}.csv"
        return StreamingHttpResponse(lines, headers={"Content-Disposition": disposition}, content_type="text/csv")


def rows(request: HttpRequest, found: Any, page: list[Any]) -> Iterator[list[Any]]:
    """Page by page: a transaction as long as a download would keep PostgreSQL from cleaning up."""
    # The byte order mark tells spreadsheets that this is UTF-8.
    yield [f"\ufeff{EXPORTED[0]}", *EXPORTED[1:]]
    while page:
        last = str(page[-1].created_at), str(page[-1].pk)
        for payout in page:
            yield [getattr(mask_for(request, payout), name) for name in EXPORTED]
        try:
            page = list(beyond(found, "-created_at", *last, backwards=False)[:EXPORTED_AT_ONCE])
        except Error:
            # Not every proxy tells that there should be more.
            yield [_("The export is not complete.")]
            raise


def cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return moment(value)
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
    return re.sub(FORMULA, r"\1'", text) if isinstance(text, str) else text


def history(request: HttpRequest, payout: Payout) -> dict[str, Any]:
    """The newest change first, as that is what people come for."""
    hidden = () if request.user.has_perm("payouts.view_card_numbers") else MASKED
    told = []
    for change in PayoutChange.objects.filter(payout_id=payout.pk).order_by("-id")[:CHANGES_SHOWN]:
        values = {name: masked(new) if name in hidden else new for name, new in change.changes.items()}
        if "status" in values:
            values["status"] = Status(values["status"]).label
        # What was empty from the beginning did not change, and a lease tells a person nothing.
        named = [name for name in ("status", *SHOWN, "deleted_at") if values.get(name) not in (None, "")]
        if what := "; ".join(f"{field(name).verbose_name}: {values[name]}" for name in named):
            told.append([moment(change.at), wrapped(what), wrapped(change.changed_by)])
    return {"headers": [_("when"), _("what"), _("who")], "rows": told}


def is_superuser(_admin: Any, request: Any, *_args: Any, **_kwargs: Any) -> bool:
    return request.user.is_superuser


class AdminForSuperusers(ModelAdmin):
    """Whoever may change accounts, or give tokens to them, could have every permission."""

    has_view_permission = has_add_permission = has_change_permission = has_delete_permission = is_superuser
    has_module_permission = is_superuser


@admin.register(Token)
class TokenAdmin(AdminForSuperusers):
    list_display = ("name", "user", "created_at", "used_at")
    has_change_permission = never

    def save_model(self, request: Any, obj: Token, *args: Any) -> None:
        messages.warning(request, wrapped(_("The token, shown only now: %(token)s") % {"token": obj.issue()}))


admin.site.unregister((User, Group))
admin.site.register(Group, type("PrettyGroupAdmin", (GroupAdmin, AdminForSuperusers), {}))


@admin.register(User)
class PrettyUserAdmin(UserAdmin, AdminForSuperusers):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Payouts know their caller by name: a retry of a renamed one, with an old key, would be paid once more."""
        return ("username",) if obj else ()


# The start page reads no more payouts than this, however many there are.
RECENT_LIMIT = 100_000
RECENT = """
WITH recent AS (
    SELECT date_trunc('hour', created_at) AS hour, status, currency, failure_reason, amount FROM payouts_payout
     WHERE created_at > statement_timestamp() - interval '24 hours' AND deleted_at IS NULL
     ORDER BY created_at DESC LIMIT %s)
SELECT hour, status, currency, failure_reason, count(*), sum(amount) FROM recent
 GROUP BY GROUPING SETS ((status, currency), (hour, status), (failure_reason)) ORDER BY status, count(*) DESC
"""
REASONS_SHOWN = 5
COLOURS = dict(zip(Status, ("#60a5fa", "#fb923c", "#22c55e", "#ef4444", "#9ca3af"), strict=True))
STACKED = {"maintainAspectRatio": False, "scales": {"x": {"stacked": True}, "y": {"stacked": True}}}


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The last 24 hours at a glance."""
    if request.user.has_perm("payouts.view_payout"):
        try:
            return {**context, **recent()}
        except OperationalError as error:
            explain(request, error)
    return context


def recent() -> dict[str, Any]:
    payouts = Payout.objects
    cards = [
        (_("Outcome unknown"), "stuck=doubt", payouts.in_doubt().census("lease_until")),
        (_("New"), "status__exact=NEW", payouts.filter(status=Status.NEW).census("created_at")),
        (_("Processing"), "status__exact=PROCESSING", payouts.filter(status=Status.PROCESSING).census("lease_until")),
    ]
    with connection.cursor() as cursor:
        cursor.execute(RECENT, [RECENT_LIMIT])
        groups = cursor.fetchall()
    # Each row is of one grouping set: the columns by which that does not group are NULL.
    sums = [
        [Status(status).label, number, money(total, currency)]
        for _hour, status, currency, _reason, number, total in groups
        if currency
    ]
    failures = [[masked(reason), number] for *_others, reason, number, _total in groups if reason][:REASONS_SHOWN]
    hours = [now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=ago) for ago in range(23, -1, -1)]
    counted = {(hour, status): number for hour, status, *_others, number, _total in groups if hour}
    bars = [
        {"label": status.label, "backgroundColor": colour, "data": [counted.get((hour, status), 0) for hour in hours]}
        for status, colour in COLOURS.items()
    ]
    return {
        "cards": cards,
        "sums": {"headers": [_("status"), _("payouts"), _("amount")], "rows": sums},
        "failures": {"headers": [_("reason"), _("payouts")], "rows": failures},
        "chart": json.dumps({"labels": [f"{localtime(hour):%H:%M}" for hour in hours], "datasets": bars}, default=str),
        "stacked": json.dumps(STACKED),
        "limit": RECENT_LIMIT if sum(row[1] for row in sums) >= RECENT_LIMIT else None,
    }
