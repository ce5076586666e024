"""What docs/operations.md tells people to type at night."""

import logging
import re
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from payouts.admin.states import is_returned
from payouts.gateways import paid
from payouts.machine import Answer, Outcome, Status
from payouts.models import Payout, PayoutChange
from payouts.tasks import log_finished
from tests.local import ROOT
from tests.make import REQUEST, URL, make_payout

TEXT = (ROOT / "docs/operations.md").read_text()
SECTIONS = {part.partition("\n")[0]: part for part in re.split(r"^##+ ", TEXT, flags=re.MULTILINE)}


def statements(section):
    """What its SQL blocks say, in order."""
    blocks = "".join(re.findall(r"```sql\n(.*?)```", SECTIONS[section], re.DOTALL))
    return [statement.strip() for statement in blocks.split(";\n") if statement.strip()]


LEDGER, COMPLETE, WITHOUT_PAYOUT, NEXT, NAME_KEY = statements("Back up and restore")
LIST, WORD, *ANSWERED = statements("Waits for a person")
HURRY, SETTLE, CLOCK = statements("Hurry"), statements("Settle"), statements("Reset the clock's traces")
LOOK, CAME_BACK = statements("Look first"), statements("Money came back")
IN_DOUBT = {"taken_at": None, "note": "HTTP 504"}
WAITING = {**IN_DOUBT, "due_at": None, "attempt": 3}
pytestmark = pytest.mark.django_db


def run(statement, payout=None, **variables):
    """Executes it as psql does. Returns its rows, or how many it has changed."""
    for name, value in {"id": payout and payout.pk, "who": "ann", **variables}.items():
        statement = statement.replace(f":'{name}'", f"'{value}'")
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else cursor.rowcount


def load(table, *rows):
    with connection.cursor() as cursor:
        for row in rows:
            cursor.execute(f"INSERT INTO {table} VALUES ({', '.join(['%s'] * len(row))})", row)  # noqa: S608


def booking(key, reference="booked", amount="100.50", currency="RUB", *, paid=True):
    return "http", str(key), paid, reference, amount, currency


def ids(payouts):
    return {payout.pk for payout in payouts}


def test_the_first_look_shows_what_is_in_flight():
    in_flight = make_payout(Status.NEW), make_payout(Status.PROCESSING)
    make_payout(Status.COMPLETED)
    assert {(status, count) for status, count, *_ in run(LOOK[0])} == {("NEW", 1), ("PROCESSING", 1)}
    assert [row[1] for row in run(LOOK[1], in_flight[0])] == ["INSERT"]


def test_hurry_brings_forward_what_nobody_has_in_hand(hour):
    in_hand = make_payout(Status.PROCESSING)
    waiting = make_payout(Status.PROCESSING, due_at=Now() + hour, **IN_DOUBT)
    for_a_person = make_payout(Status.PROCESSING, **WAITING)
    assert [run(each) for each in HURRY] == [1]
    assert Payout.objects.get(pk=for_a_person.pk).due_at is None
    assert Payout.objects.get(pk=in_hand.pk).due_at == in_hand.due_at
    assert Payout.objects.get(pk=waiting.pk).due_at < waiting.due_at


def test_a_clock_that_came_back_leaves_nothing_far_ahead(hour):
    far = [
        make_payout(Status.NEW, due_at=Now() + hour),
        make_payout(Status.PROCESSING, due_at=Now() + hour, asked_at=Now() + hour, **IN_DOUBT),
        make_payout(Status.PROCESSING, due_at=Now() + hour, taken_at=Now()),
    ]
    assert [run(each, lead="2 hours") for each in CLOCK] == [1, 2, 1]
    for payout in far:
        assert Payout.objects.get(pk=payout.pk).due_at < payout.due_at


def test_a_key_that_was_asked_by_a_clock_ahead_gets_its_true_age(hour):
    payout = make_payout(Status.PROCESSING, asked_at=Now() + hour, **IN_DOUBT)
    Payout.objects.filter(pk=payout.pk).update(updated_at=Now() + hour)
    run(CLOCK[0], lead="2 hours")
    Payout.objects.filter(pk=payout.pk).update(due_at=Now())
    claimed = Payout.objects.claim(payout.pk, by="a test")
    assert hour <= claimed.asked_ago < 1.1 * hour
    assert not claimed.clock_was_set_back


@pytest.mark.parametrize(("number", "status"), [(0, Status.COMPLETED), (1, Status.FAILED)])
def test_settling_takes_a_payout_out_of_its_worker_s_hands(number, status):
    payout = make_payout(Status.PROCESSING, note="HTTP 504")
    assert run(SETTLE[number], payout) == 1
    assert not Payout.objects.finish(payout, paid(), by="a test")
    settled = Payout.objects.get(pk=payout.pk)
    assert (settled.status, settled.note, settled.due_at, settled.taken_at) == (status, "", None, None)
    assert PayoutChange.objects.filter(payout_id=payout.pk).last().changed_by == "sql ann -"


def test_a_person_gets_a_list_of_the_keys_to_ask_about():
    payout = make_payout(Status.PROCESSING, **WAITING)
    make_payout(Status.PROCESSING, **IN_DOUBT)
    [(gateway, key, *_others, note)] = run(LIST)
    assert (gateway, key, note) == (payout.gateway, payout.gateway_key, "HTTP 504")


def test_the_gateway_s_word_settles_many_or_has_them_sent_again():
    paid_one, refused_one, absent_one, other = (make_payout(Status.PROCESSING, **WAITING) for _ in range(4))
    in_doubt = make_payout(Status.PROCESSING, **IN_DOUBT)
    run(WORD)
    load(
        "word",
        (paid_one.gateway_key, "paid", "b-1", None),
        (refused_one.gateway_key, "refused", None, "No such card."),
        (absent_one.gateway_key, "absent", None, None),
        (in_doubt.gateway_key, "paid", "b-2", None),
    )
    assert [run(each) for each in ANSWERED] == [1, 1, 1]
    for payout in (paid_one, refused_one, absent_one, other, in_doubt):
        payout.refresh_from_db()
    assert (paid_one.status, paid_one.gateway_reference, paid_one.note) == ("COMPLETED", "b-1", "")
    assert (refused_one.status, refused_one.failure_reason) == ("FAILED", "No such card.")
    assert (other.due_at, in_doubt.status) == (None, "PROCESSING")


def test_what_is_sent_again_is_asked_as_if_for_the_first_time():
    payout = make_payout(Status.PROCESSING, **WAITING)
    run(WORD)
    load("word", (payout.gateway_key, "absent", None, None))
    assert [run(each) for each in ANSWERED] == [0, 0, 1]
    claimed = Payout.objects.claim(payout.pk, by="a test")
    assert (claimed.was_asked_before, claimed.gateway_key) == (False, payout.gateway_key)


def test_a_look_finds_out_whether_money_came_back():
    payout = make_payout(Status.COMPLETED)
    assert run(CAME_BACK[0], payout) == 1
    assert Payout.objects.claim(payout.pk, by="a test").status == Status.COMPLETED


def test_money_that_came_back_is_written_by_hand():
    payout = make_payout(Status.COMPLETED)
    assert run(CAME_BACK[1], payout) == 1
    after = Payout.objects.with_stage().get(pk=payout.pk)
    assert (after.status, is_returned(after), after.processed_at) == (Status.FAILED, True, payout.processed_at)


def test_after_a_restore_what_the_gateway_has_paid_is_completed():
    new, failed, unpaid = (make_payout(status) for status in ("NEW", "FAILED", "NEW"))
    corrected, in_doubt = make_payout("PROCESSING", amount=106, **IN_DOUBT), make_payout("PROCESSING", **IN_DOUBT)
    run(LEDGER)
    load(
        "ledger",
        booking(new.gateway_key),
        booking(failed.gateway_key, None),
        booking(corrected.gateway_key, "b" * 300, "50.5", "USD"),
        booking(in_doubt.gateway_key, paid=False),
    )
    assert {pk for (pk,) in run(COMPLETE)} == ids([new, failed, corrected])
    assert [row[0] for row in run(NEXT)] == [unpaid.pk, in_doubt.pk]
    corrected.refresh_from_db()
    assert (str(corrected.amount), corrected.currency, corrected.gateway) == ("50.50", "USD", "http")
    booked = sorted(Payout.objects.filter(status="COMPLETED").values_list("gateway_reference", flat=True))
    assert booked == ["", "b" * 255, "booked"]


def test_a_booking_without_a_payout_is_shown():
    known, lost = make_payout(), uuid4()
    run(LEDGER)
    load("ledger", booking(known.gateway_key), booking(lost), booking(uuid4(), paid=False))
    assert [row[1] for row in run(WITHOUT_PAYOUT)] == [str(lost)]


def test_a_later_submission_is_completed_once_a_person_has_named_its_payout():
    payout, later = make_payout(Status.FAILED), uuid4()
    run(LEDGER)
    load("ledger", booking(later))
    assert run(NAME_KEY, payout, key=later) == 1
    assert run(COMPLETE) == [(payout.pk,)]
    payout.refresh_from_db()
    assert (payout.status, payout.submission, run(WITHOUT_PAYOUT)) == ("COMPLETED", 2, [])


@pytest.mark.django_db(transaction=True)
def test_what_its_caller_sends_again_after_a_restore_is_completed_before_a_worker_asks(api):
    headers = {"Idempotency-Key": "lost"}
    lost = Payout.objects.get(pk=api.post(URL, REQUEST, headers=headers).json()["id"])
    Payout.objects.all().delete()
    again = api.post(URL, REQUEST, headers=headers).json()["id"]
    with transaction.atomic():
        run(LEDGER.replace("currency text)", "currency text) ON COMMIT DROP"))
        load("ledger", booking(lost.gateway_key))
        assert run(COMPLETE) == [(UUID(again),)]
    assert api.get(f"{URL}{again}/").json()["status"] == "COMPLETED"


def test_the_notes_name_only_settings_that_exist():
    listed = re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    named = set(re.findall(r"`((?:[A-Z]+_)+[A-Z]+)[=`]", TEXT))
    assert named
    assert named <= set(listed)


@pytest.mark.parametrize(
    "line",
    [
        "the broker takes no message, recovery will pay instead",
        "waits for the database",
        "stops before the database took its outcome",
        "none of the DB_CONNECTIONS was free for ",
        "dropped messages that are not ours: ",
        "the provider works on it",
        "waits for a person: ",
        "the money came back: ",
        "no route leads to ",
        "no access token: ",
        "an answer is about another payment",
        "enough calls are asking this provider already",
        "a hint cannot be checked: this gateway cannot look",
        "of a payout that is COMPLETED",
        "the database's clock was set back, so nothing is sent",
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


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.ABSENT])
def test_the_notes_quote_an_outcome_as_the_log_has_it(outcome, caplog):
    payout = Payout.objects.claim(make_payout().pk, by="a test")
    with caplog.at_level(logging.WARNING):
        log_finished(payout, Answer(outcome, note="curl error 7: x"), 0.1, None)
    [line] = caplog.messages
    assert line == f"outcome {outcome}: curl error 7: x"
    assert f"`outcome {outcome}: curl error …`" in TEXT


def test_the_notes_call_what_there_is(api):
    payout = make_payout(Status.FAILED)
    paths = re.findall(r'\$API(/[^";\s]*)', TEXT)
    assert len(paths) == 4
    for path in paths:
        assert api.get(path.replace("$ID", str(payout.pk))).status_code == 200
