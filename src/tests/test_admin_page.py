"""The back office's page of one payout: what it shows, and what can be corrected there."""

import html
import re

import pytest
from django.db.models.functions import Now

from payouts.admin.payout_page import CHANGES_SHOWN, EDITABLE
from payouts.machine import Status
from payouts.models import Payout
from tests.back_office import (
    CARD,
    IN_DOUBT,
    LIST,
    PENDING,
    WAITING,
    edit,
    make_payout_with_card_numbers,
    page_url,
    post_dialog,
    staff,
)
from tests.make import make_payout, row, short_id

pytestmark = pytest.mark.django_db


def test_the_page_shows_all_fields(superuser):
    payout = make_payout(Status.COMPLETED, recipient_details={"holder": {"name": "ИВАН"}}, gateway_reference="ref-7")
    source = superuser.get(page_url(payout)).content.decode()
    # The page needs no link to a history, because it shows the history. "Save and continue" would only confuse.
    assert not [link for link in ("/history/", "_continue") if link in source]
    page = " ".join(re.sub("<.*?>", " ", html.unescape(source)).split())
    for text in ('"holder": { "name": "ИВАН" }', "ref-7", str(payout.gateway_key), f"{payout.processed_at:%H:%M}"):
        assert text in page
    for label in ("Status", "What happens next", "Recipient details", "The gateway's key", "Caller", "Created"):
        assert label in page


def test_readers_see_the_details_line_by_line():
    payout = make_payout(recipient_details={"number": CARD, "holder": "x"})
    page = staff("view_payout", "view_card_numbers").get(page_url(payout)).content.decode()
    assert "white-space: pre-line" in page
    assert f"&quot;x&quot;,\n\u00a0\u00a0&quot;number&quot;: &quot;{CARD}&quot;" in page


def test_a_deleted_payout_cannot_be_edited(superuser):
    payout = make_payout(deleted_at=Now())
    page = superuser.get(page_url(payout)).content.decode()
    assert not [name for name in ("comment", "seen", "_save") if f'name="{name}"' in page]


@pytest.mark.parametrize(
    ("status", "fields", "text"),
    [
        (Status.NEW, {}, "A worker takes it"),
        (Status.PROCESSING, {}, "A worker asks the gateway"),
        (Status.PROCESSING, IN_DOUBT, "Tries so far: 3. The last one: HTTP 504. The next one: 20"),
        (Status.PROCESSING, {"due_at": Now()}, "Tries so far: 1. The last one: —"),
        (Status.PROCESSING, PENDING, "The provider has been working on it since 20"),
        (Status.PROCESSING, WAITING, "No worker goes on with it: its key may be forgotten."),
        (Status.FAILED, {}, "unless somebody sends it back"),
        (Status.FAILED, {"failure_reason": "Returned: Closed."}, "It was paid, and the money came back."),
        (Status.COMPLETED, {}, "Nothing."),
        (Status.NEW, {"deleted_at": Now()}, "It was deleted"),
    ],
)
def test_the_page_says_what_happens_next(superuser, status, fields, text):
    assert text in superuser.get(page_url(make_payout(status, **fields))).content.decode()


@pytest.mark.parametrize(
    ("status", "inputs"),
    [
        (Status.NEW, {*EDITABLE, "seen"}),
        (Status.PROCESSING, set()),
        *((status, {"comment", "seen"}) for status in (Status.COMPLETED, Status.FAILED, Status.CANCELLED)),
    ],
)
def test_only_fields_that_may_be_changed_have_an_input(superuser, status, inputs):
    payout = make_payout(status)
    for client, expected in ((superuser, inputs), (staff("view_payout", username="eve"), set())):
        names = set(re.findall(r'name="(\w+)"', client.get(page_url(payout)).content.decode()))
        assert names & {*EDITABLE, "seen"} == expected


@pytest.mark.parametrize("field", ["amount", "comment"])
@pytest.mark.parametrize("status", Status)
def test_the_page_allows_the_same_changes_as_the_api(superuser, status, field):
    payout = make_payout(status)
    edit(superuser, payout, **{field: "7.00"})
    allowed = status == Status.NEW or (field == "comment" and status != Status.PROCESSING)
    assert (str(row(payout)[field]) == "7.00") == allowed
    assert row(payout)["changed_by"].startswith("ivan ") == allowed


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("recipient_details", value) for value in ("", "{", "{}", "[]", '{"a": 1e400}', r'{"a": "\u0000"}')),
        *(
            ("recipient_details", value)
            for value in (r'{"a": "\ud800"}', "[" * 99 + "]" * 99, f'{{"a": "{"x" * 17_000}"}}')
        ),
        *(
            ("recipient_details", value)
            for value in ('{"a": 1, "a": 2}', f'{{"a": {"9" * 5000}}}', '{"a": 40817810099910004312.00}', "[" * 99_999)
        ),
        *(("amount", value) for value in ("", "0", "-1", "1.001", "NaN", "1e999", "10000000000")),
        *(("comment", value) for value in ("x" * 1001, "\0")),
        *(("user_id", value) for value in ("x", 2**63)),
        ("currency", "GBP"),
    ],
    ids=short_id,
)
def test_the_page_refuses_a_bad_field(superuser, field, value):
    payout = make_payout()
    before = row(payout)
    answer = edit(superuser, payout, **{field: value})
    assert (answer.status_code, answer.context["adminform"].form.errors.keys()) == (200, {field})
    assert row(payout) == before


def test_an_unchanged_form_writes_nothing(superuser):
    payout = make_payout()
    before = row(payout)
    edit(superuser, payout)
    assert row(payout) == before


def test_a_person_who_was_overtaken_sees_a_message(superuser):
    payout = make_payout()
    assert payout.updated_at.isoformat() in superuser.get(page_url(payout)).content.decode()
    Payout.objects.claim(payout.pk, by="a test")
    before = row(payout)
    assert "Nothing was changed" in edit(superuser, payout, amount="7.00").content.decode()
    post_dialog(superuser, payout, "cancel")
    assert "Nothing was changed" in superuser.get(page_url(payout)).content.decode()
    assert row(payout) == before


def test_the_history_shows_the_gateway_reference():
    payout = make_payout(Status.COMPLETED, gateway_reference="627154123456")
    page = staff("view_payout").get(page_url(payout)).content.decode()
    assert "gateway reference: 627154123456" in page


@pytest.mark.parametrize("permissions", [(), ("view_card_numbers",)])
def test_only_a_permission_shows_whole_card_numbers(permissions):
    client = staff("view_payout", "change_payout", *permissions)
    payout = make_payout_with_card_numbers()
    for path in (page_url(payout), f"{LIST}export/"):
        page = client.get(path).getvalue().decode()
        assert (CARD in page, "**** 1111" in page) == (bool(permissions), not permissions)
    assert CARD not in client.get(LIST).content.decode()


def test_fields_without_card_numbers_can_be_changed_without_the_permission():
    payout = make_payout(comment="Salary")
    edit(staff("view_payout", "change_payout"), payout, comment="Bonus", recipient_details="{}")
    assert (row(payout)["comment"], row(payout)["recipient_details"]) == ("Bonus", payout.recipient_details)


def test_asterisks_overwrite_no_card_number():
    client = staff("view_payout", "change_payout")
    payout = make_payout_with_card_numbers()
    edit(client, payout, amount="7.00", comment="to **** 1111", recipient_details='{"number": "**** 1111"}')
    changed = row(payout)
    assert (str(changed["amount"]), changed["comment"]) == ("7.00", f"to {CARD}")
    assert changed["recipient_details"] == payout.recipient_details


def test_a_long_history_shows_the_newest_changes(superuser):
    payout = make_payout()
    for number in range(CHANGES_SHOWN + 1):
        Payout.objects.change(payout.pk, {"comment": f"No. {number}."}, by="a test")
    page = superuser.get(page_url(payout)).content.decode()
    assert [f"comment: No. {number}." in page for number in (0, 1, CHANGES_SHOWN)] == [False, True, True]


def test_a_comment_keeps_its_line_breaks(superuser):
    payout = make_payout(comment="one\ntwo")
    edit(superuser, payout, comment="one\r\ntwo", amount="7.00")
    assert (str(row(payout)["amount"]), row(payout)["comment"]) == ("7.00", "one\ntwo")
