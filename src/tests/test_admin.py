"""The back office's pages, through the front door."""

import csv
import html
import io
import json
import re
from datetime import timedelta
from decimal import Decimal

import psycopg
import pytest
from django.contrib.auth.models import Permission, User
from django.db import ProgrammingError, connection
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone

from payouts.admin.export import PAGE_SIZE
from payouts.admin.payout_page import CHANGES_SHOWN, EDITABLE
from payouts.gateways import paid
from payouts.machine import Status
from payouts.models import Currency, Payout, PayoutChange
from tests.make import make_payout, make_processing, multiply, shown

pytestmark = pytest.mark.django_db

LIST = "/admin/payouts/payout/"
CARD = "4111111111111111"
REASON = {"_form_submitted": "on", "note": "The gateway's Ann says so."}
DOUBTFUL = {"taken_at": None, "note": "HTTP 504", "attempt": 3}


def row(payout):
    return Payout.objects.values().get(pk=payout.pk)


def page_of(payout):
    return f"{LIST}{payout.pk}/change/"


def staff(*permissions, username="ivan", **fields):
    user = User.objects.create_user(username, is_staff=True, **fields)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    assert user.user_permissions.count() == len(permissions)
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def boss():
    """Without a password, whose hash takes its time."""
    return staff(is_superuser=True)


def listed(client, query):
    return {str(payout.pk) for payout in client.get(f"{LIST}?{query}").context["cl"].result_list}


def edit(client, payout, **fields):
    form = {name: getattr(payout, name) or "" for name in ("amount", "currency", "user_id", "comment")}
    form |= {"recipient_details": '{"number": "4111111111111111"}', "seen": payout.updated_at.isoformat(), **fields}
    return client.post(page_of(payout), form)


def act(client, payout, action, **fields):
    form = {**REASON, "key": payout.key, **fields}
    return client.post(f"{LIST}{payout.pk}/{action}/", form, headers={"HX-Request": "true"})


def exported(client, query=""):
    text = client.get(f"{LIST}export/?{query}").getvalue().decode()
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


NOON = timezone.localtime().replace(hour=12)
TODAY = NOON.date()


@pytest.mark.parametrize(
    "query",
    [
        "stuck=doubt",
        "status__exact=PROCESSING&status__exact=COMPLETED",
        "currency__exact=EUR",
        "amount_from=7&amount_to=7.00",
        "q=7",
        "q=November",
        "q={pk}",
        f"created_at_from={TODAY - timedelta(days=9)}&created_at_to={TODAY - timedelta(days=9)}",
    ],
)
def test_the_list_and_its_export_can_be_narrowed(boss, query):
    old = NOON - timedelta(days=9)
    fields = {"currency": Currency.EUR, "amount": 7, "user_id": 7, "comment": "November", "created_at": old}
    wanted = make_payout(Status.PROCESSING, **fields, **DOUBTFUL)
    make_payout(user_id=8, comment="7 prizes")
    query = query.format(pk=wanted.pk)
    assert listed(boss, query) == {str(wanted.pk)}
    assert [line["id"] for line in exported(boss, query)] == [str(wanted.pk)]


@pytest.mark.parametrize(
    ("language", "day", "number"), [("ru", "%d.%m.%Y", 1), ("ru", "%Y-%m-%d", 1), ("en", "%Y-%m-%d", 1)]
)
def test_days_are_read_as_the_calendar_writes_them(boss, language, day, number):
    make_payout(created_at=NOON)
    make_payout(created_at=NOON - timedelta(days=9))
    boss.cookies["django_language"] = language
    query = f"created_at_from={TODAY.strftime(day)}"
    assert len(listed(boss, query)) == len(exported(boss, query)) == number


def test_the_list_shows_what_it_is_about(boss):
    payout = make_payout(comment=f"{CARD} {'x' * 100}")
    page = boss.get(LIST).content.decode()
    for text in (str(payout.pk), f"{payout.created_at:%Y-%m-%d %H:%M:%S}", f"**** 1111 {'x' * 50}<", "100.50", "New"):
        assert text in page


def test_amounts_are_easy_to_read(boss):
    make_payout(amount=Decimal("1234567.5"))
    for language, amount in (("en", "1,234,567.50"), ("ru", "1\u00a0234\u00a0567,50")):
        boss.cookies["django_language"] = language
        for path in (LIST, "/admin/"):
            assert f"{amount}\u00a0RUB" in boss.get(path).content.decode()


def test_the_list_says_each_status_in_words(boss):
    for status in Status:
        make_payout(status)
    make_payout(deleted_at=Now())
    label = r"<span[^>]*font-semibold[^>]*uppercase[^>]*>\s*(.*?)\s*</span>"
    cells = re.findall(label, boss.get(LIST).content.decode())
    assert sorted(cells) == sorted(["Deleted", *Status.labels])


def test_a_page_shows_all_of_it(boss):
    payout = make_payout(Status.COMPLETED, recipient_details={"holder": {"name": "ИВАН"}}, gateway_reference="ref-7")
    source = boss.get(page_of(payout)).content.decode()
    # Its history is on the page, and whoever has saved is done.
    assert not [link for link in ("/history/", "_continue") if link in source]
    page = " ".join(re.sub("<.*?>", " ", html.unescape(source)).split())
    for text in ('"holder": { "name": "ИВАН" }', "ref-7", f"{payout.pk}:1", f"{payout.processed_at:%H:%M}"):
        assert text in page
    for label in ("Status", "What happens next", "Recipient details", "The gateway's key", "Caller", "Created"):
        assert label in page


@pytest.mark.parametrize(
    ("status", "fields", "called"),
    [(Status.PROCESSING, DOUBTFUL, "Outcome unknown"), (Status.NEW, {"deleted_at": Now()}, "Deleted")],
)
def test_a_page_calls_a_status_as_the_list_does(boss, status, fields, called):
    payout = make_payout(status, **fields)
    for path in (LIST, page_of(payout)):
        assert re.search(rf">\s*{called}\s*<", boss.get(path).content.decode())


def test_who_may_only_look_reads_the_details_line_by_line():
    payout = make_payout(recipient_details={"number": CARD, "holder": "x"})
    page = staff("view_payout", "view_card_numbers").get(page_of(payout)).content.decode()
    assert "white-space: pre-line" in page
    assert f"&quot;x&quot;,\n\u00a0\u00a0&quot;number&quot;: &quot;{CARD}&quot;" in page


def test_what_was_deleted_has_no_status_to_be_found_by(boss):
    payout = make_payout(deleted_at=timezone.now())
    assert listed(boss, "status__exact=NEW") == set()
    assert listed(boss, "") == {str(payout.pk)}
    [line] = exported(boss)
    assert line["deleted_at"] == f"{timezone.localtime(payout.deleted_at):%Y-%m-%d %H:%M:%S}"


def test_what_was_deleted_can_be_looked_at_only(boss):
    payout = make_payout(deleted_at=Now())
    page = boss.get(page_of(payout)).content.decode()
    assert not [name for name in ("comment", "seen", "_save") if f'name="{name}"' in page]


def test_the_list_finds_what_is_in_doubt(boss):
    unknown, left = make_payout(Status.PROCESSING, **DOUBTFUL), make_processing(lease_is_over=True)
    make_processing(lease_is_over=False)
    assert listed(boss, "stuck=doubt") == {str(unknown.pk), str(left.pk)}


def test_the_list_finds_what_waits_for_long(boss):
    waiting = make_payout(due_at=Now() - timedelta(minutes=2))
    make_payout()
    make_payout(created_at=Now() - timedelta(minutes=2), deleted_at=Now())
    assert listed(boss, "stuck=late") == {str(waiting.pk)}


@pytest.mark.parametrize("query", ["nonsense=1", "amount_from=x", "amount_from=NaN", "q=%00", "q=" + "9" * 40, "p=999"])
def test_nonsense_gets_a_page(boss, query):
    make_payout()
    assert boss.get(f"{LIST}?{query}", follow=True).status_code == 200
    assert boss.get(f"{LIST}export/?{query}", follow=True).status_code == 200


@pytest.mark.parametrize(
    ("status", "fields", "text"),
    [
        (Status.NEW, {}, "A worker takes it"),
        (Status.PROCESSING, {}, "A worker asks the gateway"),
        (Status.PROCESSING, DOUBTFUL, "Tries so far: 3. The last one: HTTP 504. The next one: 20"),
        (Status.PROCESSING, {"due_at": Now()}, "Tries so far: 1. The last one: —"),
        (Status.FAILED, {}, "unless somebody sends it back"),
        (Status.COMPLETED, {}, "Nothing."),
        (Status.NEW, {"deleted_at": Now()}, "It was deleted"),
    ],
)
def test_a_page_says_what_happens_next(boss, status, fields, text):
    assert text in boss.get(page_of(make_payout(status, **fields))).content.decode()


@pytest.mark.parametrize(
    ("status", "inputs"),
    [
        (Status.NEW, {*EDITABLE, "seen"}),
        (Status.PROCESSING, set()),
        *((status, {"comment", "seen"}) for status in (Status.COMPLETED, Status.FAILED, Status.CANCELLED)),
    ],
)
def test_only_what_may_be_changed_has_an_input(boss, status, inputs):
    payout = make_payout(status)
    found = [
        set(re.findall(r'name="(\w+)"', who.get(page_of(payout)).content.decode()))
        for who in (boss, staff("view_payout", username="eve"))
    ]
    assert [names & {*EDITABLE, "seen"} for names in found] == [inputs, set()]


@pytest.mark.parametrize("field", ["amount", "comment"])
@pytest.mark.parametrize("status", Status)
def test_a_field_can_be_changed_as_the_api_allows(boss, status, field):
    payout = make_payout(status)
    edit(boss, payout, **{field: "7.00"})
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
    ids=shown,
)
def test_a_bad_field_is_refused(boss, field, value):
    payout = make_payout()
    before = row(payout)
    answer = edit(boss, payout, **{field: value})
    assert (answer.status_code, answer.context["adminform"].form.errors.keys()) == (200, {field})
    assert row(payout) == before


def test_a_form_that_changes_nothing_changes_nothing(boss):
    payout = make_payout()
    before = row(payout)
    edit(boss, payout)
    assert row(payout) == before


def test_whoever_was_overtaken_is_told(boss):
    payout = make_payout()
    assert payout.updated_at.isoformat() in boss.get(page_of(payout)).content.decode()
    Payout.objects.claim(payout.pk, by="a test")
    before = row(payout)
    assert "Nothing was changed" in edit(boss, payout, amount="7.00").content.decode()
    act(boss, payout, "cancel")
    assert "Nothing was changed" in boss.get(page_of(payout)).content.decode()
    assert row(payout) == before


MONEY = {"amount": Decimal("100.50"), "recipient_details": {"number": CARD}}


@pytest.mark.parametrize(
    ("status", "action", "asked", "becomes"),
    [
        (Status.NEW, "cancel", {}, {"status": "CANCELLED"}),
        (Status.NEW, "settle", {"status": "COMPLETED", "gateway_reference": "g"}, {"gateway_reference": "g"}),
        (Status.NEW, "settle", {"status": "FAILED"}, {"failure_reason": REASON["note"], "attempt": 0}),
        (Status.FAILED, "retry", {}, {"status": "NEW", "submission": 2, "failure_reason": "", **MONEY}),
        (Status.FAILED, "retry", {"amount": "7"}, {"status": "NEW", **MONEY, "amount": Decimal(7)}),
        (Status.FAILED, "retry", {"recipient_details": '{"a": 1}'}, {**MONEY, "recipient_details": {"a": 1}}),
        (Status.PROCESSING, "settle_doubt", {"status": "COMPLETED"}, {"status": "COMPLETED", "attempt": 4}),
        (Status.PROCESSING, "settle_doubt", {"status": "FAILED"}, {"failure_reason": REASON["note"], "attempt": 4}),
    ],
)
def test_a_hand_may(boss, status, action, asked, becomes):
    payout = make_payout(status, **(DOUBTFUL if status == Status.PROCESSING else {}))
    assert act(boss, payout, action, **asked, note="").headers.get("HX-Redirect") is None
    assert row(payout)["status"] == status
    assert f'hx-get="{LIST}{payout.pk}/{action}/"' in boss.get(page_of(payout)).content.decode()
    assert act(boss, payout, action, **asked).headers["HX-Redirect"] == page_of(payout)
    assert becomes.items() <= row(payout).items()
    last = PayoutChange.objects.filter(payout_id=payout.pk).latest("id")
    assert last.changed_by.startswith("ivan ")
    assert last.changes["note"] == REASON["note"]
    page = boss.get(page_of(payout)).content.decode()
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
    ids=shown,
)
def test_nothing_is_sent_back_with_a_bad_correction(boss, field, value):
    payout = make_payout(Status.FAILED)
    before = row(payout)
    answer = act(boss, payout, "retry", **{field: value})
    assert (answer.status_code, answer.headers.get("HX-Redirect")) == (200, None)
    assert row(payout) == before


def test_what_is_sent_back_rings(boss, waiting, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        act(boss, make_payout(Status.FAILED), "retry")
    assert waiting() == 1


def test_what_closes_a_dialog_is_not_called_what_cancels_the_payout(boss):
    dialog = boss.get(f"{LIST}{make_payout().pk}/cancel/").content.decode()
    assert re.search(r"openModal = false'[^>]*>\s*Close\s*<", dialog)


def test_a_dialog_in_a_tab_of_its_own_leads_to_the_payout(boss):
    payout = make_payout()
    done = boss.post(f"{LIST}{payout.pk}/cancel/", {**REASON, "key": payout.key})
    assert (done.status_code, done["Location"]) == (302, page_of(payout))
    assert row(payout)["status"] == Status.CANCELLED


def test_a_dialog_whose_session_is_over_has_its_page_loaded_anew():
    stranger = Client(enforce_csrf_checks=True, headers={"HX-Request": "true"})
    path = f"{LIST}{make_payout().pk}/cancel/"
    for answer in (stranger.get(path, follow=True), stranger.post(path, REASON)):
        assert (answer.status_code, answer["HX-Refresh"]) == (403, "true")


def test_an_amount_is_corrected_as_the_page_writes_it(boss):
    payout = make_payout(Status.FAILED)
    boss.cookies["django_language"] = "ru"
    act(boss, payout, "retry", amount="1234,50")
    assert row(payout)["amount"] == Decimal("1234.50")


def test_a_browser_s_line_breaks_count_once(boss):
    payout = make_payout()
    edit(boss, payout, comment="a\r\nb" * 333)
    act(boss, payout, "cancel", note="a\r\nb" * 333)
    assert row(payout)["comment"] == row(payout)["note"] == "a\nb" * 333


ACTIONS = ("cancel", "settle", "retry", "settle_doubt")


@pytest.mark.parametrize("status", [Status.PROCESSING, Status.COMPLETED, Status.CANCELLED])
def test_a_hand_may_not(boss, status):
    payout = make_payout(status, note="known" if status != Status.PROCESSING else "")
    before = row(payout)
    page = boss.get(page_of(payout)).content.decode()
    for action in ACTIONS:
        assert f"{payout.pk}/{action}/" not in page
        act(boss, payout, action, status="FAILED")
        assert row(payout) == before


def test_a_hand_overtakes_the_worker(boss):
    payout = make_payout(Status.PROCESSING, due_at=Now(), **DOUBTFUL)
    asking = Payout.objects.claim(payout.pk, by="a test")
    Payout.objects.filter(pk=payout.pk).update(due_at=Now() - timedelta(seconds=1))
    act(boss, payout, "settle_doubt", status="FAILED")
    settled = row(payout)
    assert not Payout.objects.finish(asking, paid(), by="a test")
    assert row(payout) == settled
    assert settled["status"] == "FAILED"


@pytest.mark.parametrize(("status", "action"), [(Status.PROCESSING, "settle_doubt"), (Status.FAILED, "retry")])
def test_what_the_gateway_says_of_one_key_settles_no_other(boss, status, action):
    payout = make_payout(status, **(DOUBTFUL if status == Status.PROCESSING else {}))
    assert payout.key in boss.get(f"{LIST}{payout.pk}/{action}/").content.decode()
    Payout.objects.filter(pk=payout.pk).update(submission=2)
    before = row(payout)
    act(boss, payout, action, status="FAILED")
    assert "Nothing was changed" in boss.get(page_of(payout)).content.decode()
    assert row(payout) == before


def test_a_reason_keeps_no_card_number(boss):
    payout = make_payout()
    act(boss, payout, "settle", status="FAILED", note=f"no card {CARD}")
    assert (row(payout)["note"], row(payout)["failure_reason"]) == ("no card **** 1111",) * 2


@pytest.mark.parametrize("status", [Status.NEW, Status.FAILED, Status.PROCESSING])
def test_who_may_only_look_changes_nothing(status):
    client = staff("view_payout")
    payout = make_payout(status, **(DOUBTFUL if status == Status.PROCESSING else {}))
    before = row(payout)
    page = client.get(page_of(payout)).content.decode()
    for action in ACTIONS:
        assert f"{payout.pk}/{action}/" not in page
        assert act(client, payout, action, status="COMPLETED").status_code == 403
    assert edit(client, payout, comment="x").status_code == 403
    assert row(payout) == before


def test_who_may_change_does_not_settle():
    client = staff("view_payout", "change_payout")
    payout = make_payout(Status.PROCESSING, **DOUBTFUL)
    assert act(client, payout, "settle_doubt", status="COMPLETED").status_code == 403
    assert row(payout)["status"] == Status.PROCESSING


def test_who_may_settle_but_not_look_settles_nothing():
    client = staff("settle_payout")
    payout = make_payout(Status.PROCESSING, **DOUBTFUL)
    assert client.get(f"{LIST}{payout.pk}/settle_doubt/").status_code == 403
    assert act(client, payout, "settle_doubt", status="COMPLETED").status_code == 403
    assert row(payout)["status"] == Status.PROCESSING


@pytest.mark.parametrize("path", ["callers/token/", "auth/user/", "auth/group/"])
def test_only_superusers_see_accounts_and_what_speaks_for_them(boss, path):
    kind = path.split("/")[1]
    names = [f"{action}_{kind}" for action in ("view", "add", "change", "delete")]
    deputy = staff(*names, username="olga")
    for page in (path, f"{path}add/"):
        assert (boss.get(f"/admin/{page}").status_code, deputy.get(f"/admin/{page}").status_code) == (200, 403)


def test_the_history_shows_what_the_page_shows():
    payout = make_payout(Status.COMPLETED, gateway_reference="627154123456")
    page = staff("view_payout").get(page_of(payout)).content.decode()
    assert "gateway reference: 627154123456" in page


def with_numbers():
    """Wherever a card's number may have got to."""
    payout = make_payout(
        Status.NEW, comment=f"for {CARD}", recipient_details={"a": [{"number": CARD}, int(CARD)], CARD: 1}
    )
    Payout.objects.change(payout.pk, {"comment": f"to {CARD}"}, by="a test")
    payout.refresh_from_db()
    return payout


@pytest.mark.parametrize("permissions", [(), ("view_card_numbers",)])
def test_card_numbers_are_whole_only_to_whom_is_allowed(permissions):
    client = staff("view_payout", "change_payout", *permissions)
    payout = with_numbers()
    for path in (page_of(payout), f"{LIST}export/"):
        page = client.get(path).getvalue().decode()
        assert (CARD in page, "**** 1111" in page) == (bool(permissions), not permissions)
    assert CARD not in client.get(LIST).content.decode()


@pytest.mark.parametrize(
    "lookup", ["recipient_details__a__icontains", "comment__startswith", "fingerprint__startswith"]
)
def test_card_numbers_are_not_found_digit_by_digit(lookup):
    with_numbers()
    assert staff("view_payout").get(f"{LIST}?{lookup}=4").status_code == 400


@pytest.mark.parametrize(
    "between", [" ", "\u00a0", "\u2007", "\u200b", "\u202f", "\u3000", " - ", "\u2013", "+", "%20"]
)
def test_card_numbers_are_not_found_by_their_groups(between):
    hidden = make_payout(comment=f"room 2222, {between.join(('4111', '2222', '3333', '4444'))}")
    found = make_payout(comment="room 2222")
    page = staff("view_payout").get(f"{LIST}?q=2222").content.decode()
    assert (str(found.pk) in page, str(hidden.pk) in page) == (True, False)
    assert (
        str(hidden.pk)
        in staff("view_payout", "view_card_numbers", username="olga").get(f"{LIST}?q=2222").content.decode()
    )


def test_the_start_page_shows_no_card_number(boss):
    make_payout(Status.FAILED, failure_reason=f"no card {CARD}")
    page = boss.get("/admin/").content.decode()
    assert (CARD in page, "no card **** 1111" in page) == (False, True)


def test_what_has_no_number_may_be_changed_without_that_permission():
    payout = make_payout(comment="Salary")
    edit(staff("view_payout", "change_payout"), payout, comment="Bonus", recipient_details="{}")
    assert (row(payout)["comment"], row(payout)["recipient_details"]) == ("Bonus", payout.recipient_details)


def test_asterisks_overwrite_no_card_number():
    client = staff("view_payout", "change_payout")
    payout = with_numbers()
    edit(client, payout, amount="7.00", comment="to **** 1111", recipient_details='{"number": "**** 1111"}')
    changed = row(payout)
    assert (str(changed["amount"]), changed["comment"]) == ("7.00", f"to {CARD}")
    assert changed["recipient_details"] == payout.recipient_details


def test_an_export_has_every_payout_and_no_formula(boss):
    multiply(make_payout(recipient_details={"a": ";=1"}, comment='=1+1;-2;"=3";"a'), PAGE_SIZE)
    lines = exported(boss)
    for each in (lines, exported(boss, "o=5")):
        assert len({line["id"] for line in each}) == PAGE_SIZE + 1
    assert {line["recipient_details"] for line in lines} == {"""{"a": ";'=1"}"""}
    # As a spreadsheet reads it that parts cells by semicolons.
    text = boss.get(f"{LIST}export/").getvalue().decode()
    cells = {cell for line in csv.reader(io.StringIO(text), delimiter=";") for cell in line}
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_an_export_that_breaks_off_says_so(boss):
    multiply(make_payout(), PAGE_SIZE)
    lines = iter(boss.get(f"{LIST}export/", headers={"Accept-Language": "ru"}))
    assert [next(lines) for _payout in range(PAGE_SIZE + 1)]
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE payouts_payout RENAME TO gone")
    assert next(lines).decode() == "Выгрузка неполная.\r\n"
    with pytest.raises(ProgrammingError):
        next(lines)


def test_a_dialog_of_nothing_is_not_found(boss):
    for pk in ("abc", "01a1fcaf-a016-7176-b7af-bb375d1fea01"):
        assert boss.get(f"{LIST}{pk}/settle/").status_code == 404


def test_the_start_page_tells_the_day(boss):
    make_payout(Status.FAILED, amount=2, failure_reason="No such card.")
    make_payout(Status.FAILED, amount="3.50", failure_reason="No such card.")
    make_payout(Status.COMPLETED, created_at=Now() - timedelta(days=2))
    make_payout(created_at=Now() - timedelta(hours=23, minutes=59))
    make_payout(deleted_at=Now())
    make_payout(Status.PROCESSING, **DOUBTFUL)
    page = boss.get("/admin/")
    told = page.context
    assert "the oldest: 23\xa0hours, 59\xa0minutes" in page.content.decode()
    assert [found["number"] for *_title, found in told["cards"]] == [1, 1, 1]
    assert told["sums"]["rows"][0] == ["Failed", 2, "5.50\u00a0RUB"]
    assert told["failures"]["rows"] == [["No such card.", 2]]
    assert sorted(row[:2] for row in told["sums"]["rows"]) == [["Failed", 2], ["New", 1], ["Processing", 1]]
    charted = {bar["label"]: bar["data"] for bar in json.loads(told["chart"])["datasets"]}
    assert sum(charted["Failed"]) == 2


def test_the_start_page_tells_nothing_to_who_may_see_nothing():
    make_payout()
    assert "cards" not in staff().get("/admin/").context


@pytest.mark.parametrize("path", ["/admin/", LIST, f"{LIST}?q=7", f"{LIST}export/", "page"])
def test_a_page_takes_as_many_queries_however_many_payouts_there_are(boss, django_assert_max_num_queries, path):
    for number in range(15):
        payout = make_payout(user_id=7, comment=str(number))
    with django_assert_max_num_queries(12):
        boss.get(page_of(payout) if path == "page" else path).getvalue()


@pytest.mark.parametrize("query", ["", "q=7", "_facets=True", "status__exact=NEW"])
def test_a_list_reads_no_more_than_its_pages(boss, django_assert_max_num_queries, query):
    multiply(make_payout(user_id=7), 60)
    with django_assert_max_num_queries(12) as asked:
        page = boss.get(f"{LIST}?{query}").content.decode()
    # Only by what an index is ordered by: when it was created, or its id.
    assert not re.search(r"\bo=[\d.-]*[2-4]", page)
    read = [each["sql"] for each in asked.captured_queries if "payouts_payout" in each["sql"]]
    assert len(read) > 1
    for statement in read:
        assert "LIMIT" in statement


def test_a_long_history_shows_what_is_newest(boss):
    payout = make_payout()
    for number in range(CHANGES_SHOWN + 1):
        Payout.objects.change(payout.pk, {"comment": f"No. {number}."}, by="a test")
    page = boss.get(page_of(payout)).content.decode()
    assert [f"comment: No. {number}." in page for number in (0, 1, CHANGES_SHOWN)] == [False, True, True]


@pytest.fixture
def held():
    """A table that answers nobody, and a server that gives up soon."""
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = '100ms'")
    with psycopg.connect(**connection.get_connection_params(), autocommit=False) as other:
        other.execute("LOCK TABLE payouts_payout")
        yield
    with connection.cursor() as cursor:
        cursor.execute("RESET statement_timeout")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/admin/", LIST, f"{LIST}?status__exact=NEW", f"{LIST}export/"])
def test_what_takes_too_long_is_said_on_a_page(boss, held, path):
    page = boss.get(path, follow=True)
    assert page.status_code == 200
    assert "This takes too long." in page.content.decode()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", [LIST, f"{LIST}export/"])
@pytest.mark.parametrize(
    "query",
    [
        "created_at_to=9999-12-31",
        "created_at_from=31.02.2026",
        "created_at_to=x",
        "created_at__year=99999",
        "status__exact=%00",
        "caller__regex=(",
    ],
)
def test_a_filter_that_cannot_be_used_is_said_on_a_page(boss, path, query):
    page = boss.get(f"{path}?{query}", follow=True)
    assert page.status_code == 200
    assert "These filters cannot be used." in page.content.decode()


def test_a_comment_keeps_its_line_breaks(boss):
    payout = make_payout(comment="one\ntwo")
    edit(boss, payout, comment="one\r\ntwo", amount="7.00")
    assert (str(row(payout)["amount"]), row(payout)["comment"]) == ("7.00", "one\ntwo")


def test_an_account_keeps_its_name(boss):
    payroll = User.objects.create_user("payroll")
    page = f"/admin/auth/user/{payroll.pk}/change/"
    assert "username" not in boss.get(page).context["adminform"].form.fields
    joined = {"date_joined_0": "2026-11-21", "date_joined_1": "09:00:00"}
    assert boss.post(page, {"username": "wages", "first_name": "Ann", "is_active": "on", **joined}).status_code == 302
    payroll.refresh_from_db()
    assert (payroll.username, payroll.first_name) == ("payroll", "Ann")
