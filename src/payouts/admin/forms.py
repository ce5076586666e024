"""What a person types about a payout, read as strictly as the API reads it."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import Http404
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import ParseError
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminRadioSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from payouts.gateways import unpayable
from payouts.machine import PAID_OR_REFUSED
from payouts.models import AMOUNT_MIN, Payout
from runtime.cards import mask_text
from runtime.rest import read_json

OVERTAKEN = _("Nothing was changed: a worker has the payout in hand, or it was changed meanwhile. Open its page anew.")
KEY = _("The gateway's key")
SHORT = UnfoldAdminTextareaWidget(attrs={"rows": 3})
column: Any = Payout._meta.get_field


class DetailsField(forms.JSONField):
    # Django asks a model's validators only in a model's form.
    default_validators = column("recipient_details").validators
    # {} is not among them: it is wrong.
    empty_values = ("", None)

    def to_python(self, value: Any) -> Any:
        if value not in self.empty_values:
            if "**** " in value:
                raise ValidationError(_("Asterisks stand for digits that you may not see; nobody can be paid there."))
            try:
                read_json(value.encode())
            except ParseError as error:
                raise ValidationError(str(error)) from error
        return super().to_python(value)

    def bound_data(self, data: Any, initial: Any) -> Any:
        return data

    def prepare_value(self, value: Any) -> Any:
        """A text is what somebody has typed. Django would write it anew, and no page can hold a lone surrogate."""
        return value if isinstance(value, str) else super().prepare_value(value)


class TextField(forms.CharField):
    def to_python(self, value: Any) -> Any:
        """With its own line breaks: those of a browser would count twice."""
        return super().to_python((value or "").replace("\r\n", "\n"))


def add_unpayable(form: Any, payout: Payout) -> None:
    """Says where its provider cannot pay. What the form does not have, or leaves empty, is the payout's."""
    values = {name: form.cleaned_data.get(name) or getattr(payout, name) for name in ("currency", "recipient_details")}
    for field, errors in unpayable(**values).items():
        form.add_error(field if field in form.fields else None, errors)


class PayoutForm(forms.ModelForm):
    # As of when the person has seen the payout.
    seen = forms.CharField(widget=forms.HiddenInput, required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["seen"] = self.instance.updated_at.isoformat()

    def clean(self) -> None:
        if self.cleaned_data.get("seen") != self.initial["seen"]:
            raise ValidationError(OVERTAKEN)
        if "recipient_details" in self.fields and not self.errors:
            add_unpayable(self, self.instance)


class ReasonForm(BaseDialogForm):
    # What the gateway says of one key says nothing of the next one. And before another attempt it may have said nothing
    # of what that attempt has sent.
    key = forms.CharField(widget=forms.HiddenInput)
    attempt = forms.IntegerField(widget=forms.HiddenInput)
    note = column("note").formfield(form_class=TextField, label=_("Reason"), widget=SHORT)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        try:
            payout = Payout.objects.get(pk=self.object_id)
        except (Payout.DoesNotExist, ValidationError) as error:
            raise Http404 from error
        self.payout = payout
        self.initial |= {"key": payout.gateway_key, "attempt": payout.attempt}

    def clean_note(self) -> str:
        return mask_text(self.cleaned_data["note"])


class RetryForm(ReasonForm):
    amount = column("amount").formfield(
        required=False, min_value=AMOUNT_MIN, localize=True, widget=UnfoldAdminTextInputWidget
    )
    recipient_details = column("recipient_details").formfield(
        form_class=DetailsField, required=False, widget=SHORT, initial=""
    )
    field_order = ("amount", "recipient_details")

    def clean(self) -> None:
        if not self.errors:
            add_unpayable(self, self.payout)


class SettleForm(ReasonForm):
    choices = [(status, status.label) for status in PAID_OR_REFUSED]
    status = forms.ChoiceField(label=_("Outcome"), choices=choices, widget=UnfoldAdminRadioSelectWidget)
    key = forms.CharField(label=KEY, required=False, widget=UnfoldAdminTextInputWidget(attrs={"readonly": True}))
    gateway_reference = column("gateway_reference").formfield(widget=UnfoldAdminTextInputWidget)
    field_order = ("key", "status", "gateway_reference")
