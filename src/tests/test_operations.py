"""What docs/operations.md tells people to type at night."""

import re

import pytest
from django.db import connection
from django.db.models.functions import Now

from payouts.gateways import paid
from payouts.machine import Status
from payouts.models import Payout, PayoutChange
from tests.local import ROOT
from tests.make import REQUEST, URL, make_payout

TEXT = (ROOT / "docs/operations.md").read_text()
SECTIONS = {part.partition("\n")[0]: part for part in re.split(r"^##+ ", TEXT, flags=re.MULTILINE)}


def statements(section):
    """What its SQL blocks say, in order."""
    blocks = "".join(re.findall(r"```sql\n(.*?)```", SECTIONS[section], re.DOTALL))
    return [statement.strip() for statement in blocks.split(";\n") if statement.strip()]


COMPARE, LOOK = statements("Back up and restore"), statements("Look first")
HURRY, SETTLE, CLOCK = statements("Hurry"), statements("Settle"), statements("Reset the clock's traces")
pytestmark = pytest.mark.django_db


def run(statement, payout=None):
    with connection.cursor() as cursor:
        cursor.execute(statement.replace(":'id'", f"'{payout and payout.pk}'").replace(":'who'", "'ann'"))
        return cursor.fetchall() if cursor.description else cursor.rowcount


def test_the_first_look_shows_what_is_in_flight():
    in_flight = make_payout(Status.NEW), make_payout(Status.PROCESSING)
    make_payout(Status.COMPLETED)
    assert {(status, count) for status, count, *_ in run(LOOK[0])} == {("NEW", 1), ("PROCESSING", 1)}
    assert [row[1] for row in run(LOOK[1], in_flight[0])] == ["INSERT"]


def test_hurry_brings_forward_what_nobody_has_in_hand(hour):
    in_hand = make_payout(Status.PROCESSING)
    waiting = make_payout(Status.PROCESSING, due_at=Now() + hour, taken_at=None, note="HTTP 504")
    assert [run(each) for each in HURRY] == [1]
    assert Payout.objects.get(pk=in_hand.pk).due_at == in_hand.due_at
    assert Payout.objects.get(pk=waiting.pk).due_at < waiting.due_at


def test_a_clock_that_came_back_leaves_nothing_far_ahead(hour):
    far = [
        make_payout(Status.NEW, due_at=Now() + hour),
        make_payout(Status.PROCESSING, due_at=Now() + hour, taken_at=None, note="HTTP 504"),
        make_payout(Status.PROCESSING, due_at=Now() + hour, taken_at=Now()),
    ]
    assert [run(each) for each in CLOCK] == [2, 1]
    for payout in far:
        assert Payout.objects.get(pk=payout.pk).due_at < payout.due_at


@pytest.mark.parametrize(("number", "status"), [(0, Status.COMPLETED), (1, Status.FAILED)])
def test_settling_takes_a_payout_out_of_its_worker_s_hands(number, status):
    payout = make_payout(Status.PROCESSING, note="HTTP 504")
    assert run(SETTLE[number], payout) == 1
    assert not Payout.objects.finish(payout, paid(), by="a test")
    settled = Payout.objects.get(pk=payout.pk)
    assert (settled.status, settled.note, settled.due_at, settled.taken_at) == (status, "", None, None)
    assert PayoutChange.objects.filter(payout_id=payout.pk).last().changed_by == "sql ann -"


def test_after_a_restore_what_the_gateway_has_paid_is_completed():
    new, failed, unpaid, *gone = (make_payout(status) for status in ("NEW", "FAILED", "NEW", "NEW", "NEW"))
    corrected, in_doubt = make_payout("FAILED", amount=106), make_payout("PROCESSING", note="HTTP 504")
    Payout.objects.filter(pk__in=[payout.pk for payout in gone]).delete()
    create, insert, update, select = COMPARE
    run(create)
    with connection.cursor() as cursor:
        for payout, reference in zip((new, failed, *gone), ("booked", None, None, "booked" * 99), strict=True):
            cursor.execute("INSERT INTO ledger VALUES (%s, true, %s, 100.5, 'RUB')", [f"{payout.pk}:1", reference])
        cursor.execute("INSERT INTO ledger VALUES (%s, true, 'second', 50.5, 'USD')", [f"{corrected.pk}:2"])
    assert run(insert) == 2
    assert {pk for (pk,) in run(update)} == {new.pk, failed.pk, corrected.pk}
    assert [row[0] for row in run(select)] == [unpaid.pk, in_doubt.pk]
    corrected.refresh_from_db()
    assert (str(corrected.amount), corrected.currency, corrected.submission) == ("50.50", "USD", 2)
    booked = sorted(Payout.objects.filter(status="COMPLETED").values_list("gateway_reference", flat=True))
    assert booked == ["", "", "booked", ("booked" * 99)[:255], "second"]


def test_the_notes_name_only_settings_that_exist():
    listed = re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    named = set(re.findall(r"`((?:[A-Z]+_)+[A-Z]+)[=`]", TEXT))
    assert named
    assert named <= set(listed)


@pytest.mark.parametrize(
    "line",
    [
        "the broker takes no message, recovery will pay instead",
        "recovery waits for the database",
        "its outcome was not written, its lease will run out",
        "outcome unknown: ",
        "was overtaken, its outcome is dropped",
        "woke too late to ask the gateway",
        "a request is refused: ",
        "The database cannot be used: ",
    ],
)
def test_the_notes_quote_the_log_as_it_is(line):
    assert line in TEXT
    # The tests quote it, too.
    ours = [path for path in (ROOT / "src").rglob("*.py") if "tests" not in path.parts]
    assert line in "".join(path.read_text() for path in ours)


def test_the_notes_call_what_there_is(api):
    payout = make_payout(Status.FAILED)
    paths = re.findall(r'\$API(/[^";\s]*)', TEXT)
    assert len(paths) == 4
    for path in paths:
        assert api.get(path.replace("$ID", str(payout.pk))).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_what_the_ledger_brought_back_is_not_made_again(api):
    payout = make_payout(Status.COMPLETED, idempotency_key="lost")
    assert api.post(URL, REQUEST, headers={"Idempotency-Key": "lost"}).status_code == 422
    assert [each.pk for each in Payout.objects.all()] == [payout.pk]
