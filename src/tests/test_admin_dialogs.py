"""The back office's dialogs: a person changes the status of a payout, and gives a reason."""

import re
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from django.db.models.functions import Now
from django.test import Client

from payouts.gateways import paid
from payouts.machine import Status
from payouts.models import Payout, PayoutChange
from tests.back_office import (
    CARD,
    IN_DOUBT,
    LIST,
    PENDING,
    REASON_FORM,
    WAITING,
    edit,
    page_url,
    post_dialog,
    seen_in_dialog,
    staff,
)
from tests.make import make_payout, row, short_id

pytestmark = pytest.mark.django_db

UNCHANGED_MONEY = {"amount": Decimal("100.50"), "recipient_details": {"number": CARD}}


@pytest.mark.parametrize(
    ("status", "dialog", "fields", "expected"),
    [
        (Status.NEW, "cancel", {}, {"status": "CANCELLED"}),
        (Status.NEW, "settle", {"status": "COMPLETED", "gateway_reference": "g"}, {"gateway_reference": "g"}),
        (Status.NEW, "settle", {"status": "FAILED"}, {"failure_reason": REASON_FORM["note"], "attempt": 0}),
        (Status.FAILED, "retry", {}, {"status": "NEW", "submission": 2, "failure_reason": "", **UNCHANGED_MONEY}),
        (Status.FAILED, "retry", {"amount": "7"}, {"status": "NEW", **UNCHANGED_MONEY, "amount": Decimal(7)}),
        (Status.FAILED, "retry", {"recipient_details": '{"a": 1}'}, {**UNCHANGED_MONEY, "recipient_details": {"a": 1}}),
        (Status.PROCESSING, "settle_doubt", {"status": "COMPLETED"}, {"status": "COMPLETED", "attempt": 4}),
        (
            Status.PROCESSING,
            "settle_doubt",
            {"status": "FAILED"},
            {"failure_reason": REASON_FORM["note"], "attempt": 4},
        ),
    ],
)
def test_a_dialog_makes_its_transition(superuser, status, dialog, fields, expected):
    payout = make_payout(status, **(IN_DOUBT if status == Status.PROCESSING else {}))
    assert post_dialog(superuser, payout, dialog, **fields, note="").headers.get("HX-Redirect") is None
    assert row(payout)["status"] == status
    assert f'hx-get="{LIST}{payout.pk}/{dialog}/"' in superuser.get(page_url(payout)).content.decode()
    assert post_dialog(superuser, payout, dialog, **fields).headers["HX-Redirect"] == page_url(payout)
    assert expected.items() <= row(payout).items()
    last = PayoutChange.objects.filter(payout_id=payout.pk).latest("id")
    assert last.changed_by.startswith("ivan ")
    assert last.changes["note"] == REASON_FORM["note"]
    page = superuser.get(page_url(payout)).content.decode()
    assert page.count("The gateway&#x27;s Ann says so.") > 1
    assert "Done. The history names you and your reason." in page
    assert f"status: {Status(row(payout)['status']).label}" in page


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("amount", value) for value in ("0", "-1", "1.001", "NaN", "1e999", "10000000000")),
        *(("recipient_details", value) for value in ("{", "{}", "[]", "[1]", "7", '{"a": "\\u0000"}', '{"a": 1e400}')),
        ("recipient_details", f'{{"a": "{"x" * 17_000}"}}'),
        ("recipient_details", '{"number": "**** 1111"}'),
    ],
    ids=short_id,
)
def test_a_retry_with_a_bad_correction_is_refused(superuser, field, value):
    payout = make_payout(Status.FAILED)
    before = row(payout)
    answer = post_dialog(superuser, payout, "retry", **{field: value})
    assert (answer.status_code, answer.headers.get("HX-Redirect")) == (200, None)
    assert row(payout) == before


def test_a_retry_announces_the_payout(superuser, queue_length, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        post_dialog(superuser, make_payout(Status.FAILED), "retry")
    assert queue_length() == 1


def test_the_button_that_closes_a_dialog_is_not_called_cancel(superuser):
    dialog = superuser.get(f"{LIST}{make_payout().pk}/cancel/").content.decode()
    assert re.search(r"openModal = false'[^>]*>\s*Close\s*<", dialog)


def test_a_dialog_in_a_tab_of_its_own_leads_to_the_payout(superuser):
    payout = make_payout()
    answer = superuser.post(f"{LIST}{payout.pk}/cancel/", {**REASON_FORM, **seen_in_dialog(payout)})
    assert (answer.status_code, answer["Location"]) == (302, page_url(payout))
    assert row(payout)["status"] == Status.CANCELLED


def test_a_dialog_without_a_session_reloads_its_page():
    stranger = Client(enforce_csrf_checks=True, headers={"HX-Request": "true"})
    path = f"{LIST}{make_payout().pk}/cancel/"
    for answer in (stranger.get(path, follow=True), stranger.post(path, REASON_FORM)):
        assert (answer.status_code, answer["HX-Refresh"]) == (403, "true")


def test_a_retry_reads_an_amount_as_the_page_writes_it(superuser):
    payout = make_payout(Status.FAILED)
    superuser.cookies["django_language"] = "ru"
    post_dialog(superuser, payout, "retry", amount="1234,50")
    assert row(payout)["amount"] == Decimal("1234.50")


def test_a_line_break_of_a_browser_counts_once(superuser):
    payout = make_payout()
    edit(superuser, payout, comment="a\r\nb" * 333)
    post_dialog(superuser, payout, "cancel", note="a\r\nb" * 333)
    assert row(payout)["comment"] == row(payout)["note"] == "a\nb" * 333


DIALOGS = {"cancel", "settle", "retry", "settle_doubt", "send_again", "look"}
HAND_PAID = {"gateway": ""}


def dialogs_of(client, payout):
    return set(re.findall(rf'hx-get="{LIST}{payout.pk}/(\w+)/"', client.get(page_url(payout)).content.decode()))


@pytest.mark.parametrize(
    ("status", "fields", "dialogs"),
    [
        (Status.NEW, {}, {"cancel", "settle"}),
        (Status.PROCESSING, {}, set()),
        (Status.PROCESSING, IN_DOUBT, {"settle_doubt"}),
        (Status.PROCESSING, PENDING, {"settle_doubt"}),
        (Status.PROCESSING, WAITING, {"settle_doubt", "send_again"}),
        (Status.COMPLETED, {}, {"look"}),
        # There is no gateway to ask.
        (Status.COMPLETED, HAND_PAID, set()),
        (Status.FAILED, {}, {"retry"}),
        (Status.FAILED, {"failure_reason": "Returned: Closed."}, {"retry"}),
        (Status.CANCELLED, {}, set()),
        (Status.NEW, {"deleted_at": Now()}, set()),
        (Status.COMPLETED, {"deleted_at": Now()}, set()),
    ],
)
def test_a_page_offers_what_can_be_done_now_and_allows_nothing_else(superuser, status, fields, dialogs):
    payout = make_payout(status, **fields)
    assert dialogs_of(superuser, payout) == dialogs
    before = row(payout)
    for dialog in DIALOGS - dialogs:
        post_dialog(superuser, payout, dialog, status="FAILED")
        assert row(payout) == before


@pytest.mark.parametrize("stage", [IN_DOUBT, PENDING, WAITING], ids=["in doubt", "pending", "waits"])
def test_an_open_outcome_can_be_settled(superuser, stage):
    payout = make_payout(Status.PROCESSING, **stage)
    post_dialog(superuser, payout, "settle_doubt", status="COMPLETED")
    assert (row(payout)["status"], row(payout)["note"]) == (Status.COMPLETED, REASON_FORM["note"])


def test_what_waits_for_a_person_can_be_sent_again(superuser, queue_length, django_capture_on_commit_callbacks):
    payout = make_payout(Status.PROCESSING, **WAITING)
    with django_capture_on_commit_callbacks(execute=True):
        post_dialog(superuser, payout, "send_again")
    sent = row(payout)
    assert (sent["status"], sent["asked_at"], sent["attempt"]) == (Status.PROCESSING, None, payout.attempt + 1)
    assert (sent["gateway_key"], sent["submission"], sent["note"]) == (payout.gateway_key, 1, REASON_FORM["note"])
    assert (sent["due_at"] is not None, queue_length()) == (True, 1)


def test_a_worker_is_told_to_look_whether_the_money_came_back(
    superuser, queue_length, django_capture_on_commit_callbacks
):
    payout = make_payout(Status.COMPLETED)
    with django_capture_on_commit_callbacks(execute=True):
        post_dialog(superuser, payout, "look")
    assert (row(payout)["status"], row(payout)["note"]) == (Status.COMPLETED, REASON_FORM["note"])
    assert (row(payout)["due_at"] is not None, queue_length()) == (True, 1)


def test_a_look_that_a_worker_has_begun_is_not_begun_anew(superuser):
    payout = make_payout(Status.COMPLETED, taken_at=Now(), due_at=Now() + timedelta(minutes=1))
    before = row(payout)
    post_dialog(superuser, payout, "look")
    assert row(payout) == before


@pytest.mark.parametrize("stage", [IN_DOUBT, WAITING], ids=["in doubt", "waits"])
def test_a_dialog_does_not_change_what_was_asked_about_since_it_was_opened(superuser, stage):
    payout = make_payout(Status.PROCESSING, **stage)
    Payout.objects.filter(pk=payout.pk).update(attempt=payout.attempt + 1)
    before = row(payout)
    for dialog in ("settle_doubt", "send_again"):
        post_dialog(superuser, payout, dialog, status="FAILED")
        assert row(payout) == before


def test_a_worker_cannot_finish_a_payout_that_a_person_has_settled(superuser):
    payout = make_payout(Status.PROCESSING, due_at=Now(), **IN_DOUBT)
    claimed = Payout.objects.claim(payout.pk, by="a test")
    Payout.objects.filter(pk=payout.pk).update(due_at=Now() - timedelta(seconds=1))
    post_dialog(superuser, claimed, "settle_doubt", status="FAILED")
    settled = row(payout)
    assert not Payout.objects.finish(claimed, paid(), by="a test")
    assert row(payout) == settled
    assert settled["status"] == "FAILED"


@pytest.mark.parametrize(("status", "dialog"), [(Status.PROCESSING, "settle_doubt"), (Status.FAILED, "retry")])
def test_a_dialog_does_not_change_a_later_submission(superuser, status, dialog):
    payout = make_payout(status, **(IN_DOUBT if status == Status.PROCESSING else {}))
    assert str(payout.gateway_key) in superuser.get(f"{LIST}{payout.pk}/{dialog}/").content.decode()
    Payout.objects.filter(pk=payout.pk).update(submission=2, gateway_key=uuid4())
    before = row(payout)
    post_dialog(superuser, payout, dialog, status="FAILED")
    assert "Nothing was changed" in superuser.get(page_url(payout)).content.decode()
    assert row(payout) == before


def test_a_reason_is_stored_without_card_numbers(superuser):
    payout = make_payout()
    post_dialog(superuser, payout, "settle", status="FAILED", note=f"no card {CARD}")
    assert (row(payout)["note"], row(payout)["failure_reason"]) == ("no card **** 1111",) * 2


STATES = [
    *((status, {}) for status in (Status.NEW, Status.FAILED, Status.COMPLETED)),
    *((Status.PROCESSING, stage) for stage in (IN_DOUBT, PENDING, WAITING)),
]


@pytest.mark.parametrize(("status", "fields"), STATES)
def test_readers_change_nothing(status, fields):
    client = staff("view_payout")
    payout = make_payout(status, **fields)
    before = row(payout)
    assert dialogs_of(client, payout) == set()
    for dialog in DIALOGS:
        assert post_dialog(client, payout, dialog, status="COMPLETED").status_code == 403
    assert edit(client, payout, comment="x").status_code == 403
    assert row(payout) == before


@pytest.mark.parametrize(
    ("status", "fields", "dialogs"),
    [
        (Status.PROCESSING, IN_DOUBT, {"settle_doubt"}),
        (Status.PROCESSING, WAITING, {"settle_doubt", "send_again"}),
        (Status.COMPLETED, {}, {"look"}),
    ],
)
def test_the_permission_to_change_does_not_allow_settling(status, fields, dialogs):
    client = staff("view_payout", "change_payout")
    payout = make_payout(status, **fields)
    before = row(payout)
    for dialog in dialogs:
        assert post_dialog(client, payout, dialog, status="COMPLETED").status_code == 403
    assert row(payout) == before


def test_the_permission_to_settle_needs_the_permission_to_view():
    client = staff("settle_payout")
    payout = make_payout(Status.PROCESSING, **IN_DOUBT)
    assert client.get(f"{LIST}{payout.pk}/settle_doubt/").status_code == 403
    assert post_dialog(client, payout, "settle_doubt", status="COMPLETED").status_code == 403
    assert row(payout)["status"] == Status.PROCESSING


def test_a_dialog_of_an_unknown_payout_is_404(superuser):
    for pk in ("abc", "01a1fcaf-a016-7176-b7af-bb375d1fea01"):
        assert superuser.get(f"{LIST}{pk}/settle/").status_code == 404
