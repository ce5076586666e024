"""PATCH, PUT and DELETE of a payout in each status."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db.models.functions import Now

from payouts.gateways import paid
from payouts.machine import Status
from payouts.models import Payout
from tests.back_office import IN_DOUBT, PENDING, UNSENT, WAITING
from tests.make import REQUEST, URL, make_payout, make_processing, row, short_id, url_of

pytestmark = pytest.mark.django_db

# What the API promises. The service derives it from the table in machine.py, so the test has a list of its own.
TARGETS = {Status.NEW: ["CANCELLED", "COMPLETED", "FAILED"], Status.FAILED: ["NEW"]}
CORRECTIONS = [
    ("amount", "7.00"),
    ("currency", "EUR"),
    ("recipient_details", {"iban": "DE02120300000000202051"}),
    ("user_id", 7),
]


def assert_conflict(api, answer, payout, before):
    assert answer.status_code == 409
    body = answer.json()
    assert body.keys() == {"detail", "status", "allowed"}
    assert (body["status"], body["allowed"]) == (payout.status, TARGETS.get(payout.status, []))
    assert row(payout) == before


@pytest.mark.parametrize(("field", "value"), CORRECTIONS)
@pytest.mark.parametrize("status", Status)
def test_only_a_new_payout_can_be_corrected(api, status, field, value):
    payout = make_payout(status)
    before = row(payout)
    answer = api.patch(url_of(payout), {field: value})
    if status != Status.NEW:
        return assert_conflict(api, answer, payout, before)
    assert answer.status_code == 200
    assert answer.json()[field] == value
    assert str(row(payout)[field]) == str(value)
    return None


@pytest.mark.parametrize("status", Status)
def test_a_correction_to_the_same_value_is_a_correction(api, status):
    answer = api.patch(url_of(make_payout(status)), {"amount": REQUEST["amount"]})
    assert answer.status_code == (200 if status == Status.NEW else 409)


@pytest.mark.parametrize("status", Status)
def test_the_comment_can_be_changed_unless_the_payout_is_processing(api, status):
    payout = make_payout(status)
    before = row(payout)
    answer = api.patch(url_of(payout), {"comment": "changed"})
    if status == Status.PROCESSING:
        return assert_conflict(api, answer, payout, before)
    assert answer.status_code == 200
    changed = {name for name, value in row(payout).items() if value != before[name]}
    assert changed == {"comment", "updated_at", "changed_by"}
    return None


@pytest.mark.parametrize("target", Status)
@pytest.mark.parametrize("status", Status)
def test_a_person_can_make_only_the_moves_of_the_machine(api, status, target):
    payout = make_payout(status)
    before = row(payout)
    answer = api.patch(url_of(payout), {"status": target})
    if target not in TARGETS.get(status, []):
        return assert_conflict(api, answer, payout, before)
    assert answer.status_code == 200
    assert answer.json()["status"] == row(payout)["status"] == target
    return None


@pytest.mark.parametrize("target", [Status.COMPLETED, Status.FAILED])
def test_a_settlement_by_hand_has_a_time_and_a_reference(api, target):
    answer = api.patch(url_of(make_payout()), {"status": target, "gateway_reference": "paper 17"}).json()
    assert answer["processed_at"] is not None
    assert (answer["gateway_reference"], answer["attempt"]) == ("paper 17", 0)


def test_a_cancelled_payout_was_never_processed(api):
    assert api.patch(url_of(make_payout()), {"status": "CANCELLED"}).json()["processed_at"] is None


@pytest.mark.parametrize("reason", ["No such account.", "", None])
def test_a_refusal_by_hand_has_a_reason(api, reason):
    fields = {} if reason is None else {"failure_reason": reason}
    answer = api.patch(url_of(make_payout()), {"status": "FAILED", **fields}).json()
    assert answer["failure_reason"] == (reason or "Refused by hand.")


@pytest.mark.parametrize(
    "change",
    [
        {"failure_reason": "x"},
        {"gateway_reference": "x"},
        {"status": "CANCELLED", "failure_reason": "x"},
        {"status": "CANCELLED", "gateway_reference": "x"},
        {"status": "COMPLETED", "failure_reason": "x"},
        {"status": "COMPLETED", "amount": "1.00", "currency": "GBP"},
    ],
    ids=str,
)
@pytest.mark.parametrize("status", Status)
def test_the_fields_of_an_outcome_need_a_settlement(api, status, change):
    payout = make_payout(status)
    before = row(payout)
    assert api.patch(url_of(payout), change).status_code in (400, 409)
    assert row(payout) == before


def test_a_settlement_can_correct_a_new_payout(api):
    answer = api.patch(url_of(make_payout()), {"status": "COMPLETED", "amount": "99.00"})
    assert (answer.status_code, answer.json()["amount"]) == (200, "99.00")


@pytest.mark.parametrize(("change", "note"), [({"status": "CANCELLED"}, ""), ({"comment": "x"}, "Sent back.")], ids=str)
def test_a_change_of_status_replaces_the_note(api, change, note):
    payout = make_payout(note="Sent back.")
    api.patch(url_of(payout), change)
    assert Payout.objects.get().note == note


def test_a_retry_is_a_new_submission(api):
    payout = make_payout(Status.FAILED, attempt=3, gateway_reference="g-1")
    answer = api.patch(url_of(payout), {"status": "NEW"}).json()
    assert (answer["status"], answer["failure_reason"], answer["gateway_reference"]) == ("NEW", "", "")
    assert (answer["processed_at"], answer["attempt"]) == (None, 3)
    assert row(payout)["submission"] == 2


def test_a_retry_can_correct_the_payout(api):
    payout = make_payout(Status.FAILED)
    answer = api.patch(url_of(payout), {"status": "NEW", **dict(CORRECTIONS)})
    assert answer.status_code == 200
    assert row(payout)["amount"] == Decimal("7.00")


def test_a_put_replaces_a_new_payout(api):
    answer = api.put(url_of(make_payout(comment="old")), {**REQUEST, "amount": "5.00", "comment": "new"}).json()
    assert (answer["amount"], answer["comment"]) == ("5.00", "new")


@pytest.mark.parametrize("status", [status for status in Status if status != Status.NEW])
def test_a_put_of_a_payout_that_is_not_new_is_a_conflict(api, status):
    payout = make_payout(status)
    before = row(payout)
    assert_conflict(api, api.put(url_of(payout), REQUEST), payout, before)


@pytest.mark.parametrize("change", [{}, {"attempt": 9}], ids=str)
@pytest.mark.parametrize("status", Status)
def test_a_patch_without_changes_changes_nothing(api, status, change):
    payout = make_payout(status)
    before = row(payout)
    assert api.patch(url_of(payout), change).status_code == 200
    assert row(payout) == before


@pytest.mark.parametrize("method", ["patch", "put"])
def test_a_payout_can_be_sent_back_as_it_was_shown(api, method):
    payout = make_payout(comment="old")
    shown = api.get(url_of(payout)).json()
    del shown["status"], shown["failure_reason"], shown["gateway_reference"]
    answer = getattr(api, method)(url_of(payout), {**shown, "comment": "new"})
    assert (answer.status_code, answer.json()["comment"]) == (200, "new")


@pytest.mark.parametrize(
    "change",
    [
        {"id": "01a1fcaf-a016-7176-b7af-bb375d1fea01"},
        {"gateway": "sandbox"},
        {"failure_code": None},
        {"created_at": "2001-01-01T00:00:00Z", "processed_at": 5},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["patch", "put"])
def test_what_cannot_be_changed_is_refused_by_name(api, method, change):
    payout = make_payout()
    before = row(payout)
    answer = getattr(api, method)(url_of(payout), {**REQUEST, **change})
    assert (answer.status_code, answer.json().keys()) == (400, change.keys())
    assert row(payout) == before


@pytest.mark.parametrize("status", Status)
def test_a_delete_hides_the_payout_and_keeps_the_row(api, status):
    payout = make_payout(status)
    before = row(payout)
    answer = api.delete(url_of(payout))
    if status == Status.PROCESSING:
        return assert_conflict(api, answer, payout, before)
    assert (answer.status_code, answer.content) == (204, b"")
    assert row(payout)["deleted_at"] is not None
    assert [getattr(api, method)(url_of(payout)).status_code for method in ("get", "delete")] == [404, 404]
    deleted = row(payout)
    assert api.patch(url_of(payout), {"comment": "x"}).status_code == 404
    assert row(payout) == deleted
    assert api.get(URL).json()["results"] == []
    return None


def test_a_change_needs_the_row_as_the_person_saw_it(hour):
    payout = make_payout()
    assert not Payout.objects.change(payout.pk, {"comment": "x"}, by="a test", updated_at=payout.updated_at - hour)
    assert Payout.objects.change(payout.pk, {"comment": "x"}, by="a test", updated_at=payout.updated_at)


@pytest.mark.parametrize(("method", "body"), [("patch", {"comment": "x"}), ("delete", None)])
def test_a_change_names_the_request_and_its_time(api, method, body):
    payout = make_payout(updated_at=Now() - timedelta(hours=1))
    getattr(api, method)(url_of(payout), body, headers={"X-Request-ID": "req-1"})
    assert row(payout)["changed_by"] == "api req-1"
    assert row(payout)["updated_at"] > payout.updated_at


# --- Settling what is open


WORD = {"reason": "The provider's Ann says so."}
OPEN = {"in doubt": IN_DOUBT, "pending": PENDING, "waits": WAITING, "not sent": UNSENT}


def make_open(stage):
    return make_payout(Status.PROCESSING, **OPEN[stage])


def test_an_outcome_is_not_settled_if_a_worker_has_asked_again_since(api):
    payout = make_open("in doubt")
    before = row(payout)
    stale = {"status": "FAILED", **WORD, "attempt": payout.attempt - 1}
    assert api.patch(url_of(payout), stale).status_code == 409
    assert row(payout) == before
    assert api.patch(url_of(payout), {**stale, "attempt": payout.attempt}).status_code == 200


@pytest.mark.parametrize("target", [Status.COMPLETED, Status.FAILED])
@pytest.mark.parametrize("stage", OPEN)
def test_an_open_outcome_can_be_settled_with_a_reason(api, stage, target):
    payout = make_open(stage)
    answer = api.patch(url_of(payout), {"status": target, **WORD})
    assert (answer.status_code, answer.json()["status"]) == (200, target)
    settled = row(payout)
    assert (settled["status"], settled["note"], settled["attempt"]) == (target, WORD["reason"], payout.attempt + 1)
    assert (settled["due_at"], settled["taken_at"], settled["processed_at"] is None) == (None, None, False)


def test_the_history_says_why_an_open_outcome_was_settled(api):
    payout = make_open("in doubt")
    reason = {"reason": "Ann says that 4111 1111 1111 1111 got it."}
    api.patch(url_of(payout), {"status": "COMPLETED", **reason}, headers={"X-Request-ID": "req-1"})
    last = api.get(f"{url_of(payout)}history/").json()["results"][-1]
    assert (last["changed_by"], last["changes"]["note"]) == ("api req-1", "Ann says that **** 1111 got it.")


@pytest.mark.parametrize(
    ("fields", "failure_reason"),
    [({}, WORD["reason"]), ({"failure_reason": ""}, WORD["reason"]), ({"failure_reason": "No card."}, "No card.")],
)
def test_an_open_outcome_that_is_settled_as_failed_has_a_reason_of_failure(api, fields, failure_reason):
    payout = make_open("in doubt")
    answer = api.patch(url_of(payout), {"status": "FAILED", **WORD, **fields}).json()
    assert answer["failure_reason"] == failure_reason


@pytest.mark.parametrize(("fields", "reference"), [({}, "ref-1"), ({"gateway_reference": "ref-2"}, "ref-2")])
def test_a_settlement_keeps_the_reference_that_was_known(api, fields, reference):
    payout = make_payout(Status.PROCESSING, **PENDING, gateway_reference="ref-1")
    assert api.patch(url_of(payout), {"status": "COMPLETED", **WORD, **fields}).json()["gateway_reference"] == reference


@pytest.mark.parametrize("reason", [{}, {"reason": ""}, {"reason": "  "}], ids=str)
@pytest.mark.parametrize("stage", OPEN)
def test_an_open_outcome_is_not_settled_without_a_reason(api, stage, reason):
    payout = make_open(stage)
    before = row(payout)
    answer = api.patch(url_of(payout), {"status": "COMPLETED", **reason})
    assert (answer.status_code, answer.json().keys()) == (400, {"reason"})
    assert row(payout) == before


@pytest.mark.parametrize("fields", [{}, IN_DOUBT, PENDING], ids=["new", "asked before", "pending"])
def test_a_payout_that_a_worker_holds_is_not_settled(api, fields):
    payout = make_payout(Status.PROCESSING, **{**fields, "taken_at": Now()})
    before = row(payout)
    assert_conflict(api, api.patch(url_of(payout), {"status": "COMPLETED", **WORD}), payout, before)


def test_a_payout_whose_worker_is_gone_can_be_settled(api):
    payout = make_processing(lease_is_over=True)
    assert api.patch(url_of(payout), {"status": "COMPLETED", **WORD}).status_code == 200
    assert not Payout.objects.finish(payout, paid(), by="a test")


@pytest.mark.parametrize(
    "change",
    [
        *({"status": status} for status in ("NEW", "CANCELLED", "PROCESSING")),
        *({"status": "COMPLETED", **fields} for fields in ({"amount": "1.00"}, {"comment": "x"}, {"user_id": 7})),
        {"status": "COMPLETED", "failure_reason": "x"},
        {"comment": "x"},
        {"failure_reason": "x"},
    ],
    ids=str,
)
@pytest.mark.parametrize("stage", OPEN)
def test_an_open_outcome_allows_nothing_but_a_settlement(api, stage, change):
    payout = make_open(stage)
    before = row(payout)
    answer = api.patch(url_of(payout), {**change, **WORD})
    assert (answer.status_code, answer.json()["allowed"]) == (409, ["COMPLETED", "FAILED"])
    assert row(payout) == before


def test_a_completed_payout_cannot_be_settled_again(api):
    payout = make_payout(Status.COMPLETED)
    before = row(payout)
    assert_conflict(api, api.patch(url_of(payout), {"status": "FAILED", **WORD}), payout, before)


@pytest.mark.parametrize("status", Status)
def test_a_reason_alone_changes_nothing(api, status):
    payout = make_payout(status)
    before = row(payout)
    assert api.patch(url_of(payout), WORD).status_code == 200
    assert row(payout) == before


def test_a_change_of_status_may_have_a_reason(api):
    payout = make_payout()
    api.patch(url_of(payout), {"status": "CANCELLED", **WORD})
    assert row(payout)["note"] == WORD["reason"]


@pytest.mark.parametrize("reason", [7, None, "x" * 1001, "\0"], ids=short_id)
def test_an_unusable_reason_is_refused(api, reason):
    payout = make_open("in doubt")
    before = row(payout)
    answer = api.patch(url_of(payout), {"status": "COMPLETED", "reason": reason})
    assert (answer.status_code, answer.json().keys()) == (400, {"reason"})
    assert row(payout) == before
