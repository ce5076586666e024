"""What a person does in the back office: log in, look at a list, edit a payout, use a dialog, export."""

import csv
import io

from django.contrib.auth.models import Permission, User
from django.db.models.functions import Now
from django.test import Client

from payouts.machine import Status
from payouts.models import Payout
from tests.make import make_payout

LIST = "/admin/payouts/payout/"
CARD = "4111111111111111"
REASON_FORM = {"_form_submitted": "on", "note": "The gateway's Ann says so."}
# What no worker holds, by its stage.
IN_DOUBT = {"taken_at": None, "note": "HTTP 504", "attempt": 3}
PENDING = {"taken_at": None, "pending_since": Now()}
UNSENT = {"taken_at": None, "asked_at": None, "note": "the provider is away"}
WAITING = {"taken_at": None, "due_at": None, "note": "its key may be forgotten"}


def page_url(payout):
    return f"{LIST}{payout.pk}/change/"


def staff(*permissions, username="ivan", **fields):
    """A client of a new account with these permissions."""
    user = User.objects.create_user(username, is_staff=True, **fields)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    assert user.user_permissions.count() == len(permissions)
    client = Client()
    client.force_login(user)
    return client


def ids_in_list(client, query):
    return {str(payout.pk) for payout in client.get(f"{LIST}?{query}").context["cl"].result_list}


def edit(client, payout, **fields):
    form = {name: getattr(payout, name) or "" for name in ("amount", "currency", "user_id", "comment")}
    form |= {"recipient_details": '{"number": "4111111111111111"}', "seen": payout.updated_at.isoformat(), **fields}
    return client.post(page_url(payout), form)


def seen_in_dialog(payout):
    """What a dialog remembers of the payout."""
    return {"key": str(payout.gateway_key), "attempt": payout.attempt}


def post_dialog(client, payout, dialog, **fields):
    form = {**REASON_FORM, **seen_in_dialog(payout), **fields}
    return client.post(f"{LIST}{payout.pk}/{dialog}/", form, headers={"HX-Request": "true"})


def read_export(client, query=""):
    text = client.get(f"{LIST}export/?{query}").getvalue().decode()
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


def make_payout_with_card_numbers():
    """The number is in the comment, in the details and in the history."""
    payout = make_payout(
        Status.NEW, comment=f"for {CARD}", recipient_details={"a": [{"number": CARD}, int(CARD)], CARD: 1}
    )
    Payout.objects.change(payout.pk, {"comment": f"to {CARD}"}, by="a test")
    payout.refresh_from_db()
    return payout
