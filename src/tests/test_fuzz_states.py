"""The state machine and the lists against models of them; the worker's steps are rules like those of the callers."""

from datetime import timedelta
from itertools import pairwise
from uuid import uuid4

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, multiple, rule, run_state_machine_as_test
from rest_framework.test import APIClient

from payouts import tasks
from payouts.gateways.sandbox import REFUSED_NUMBER, UNKNOWN_NUMBER
from payouts.machine import Status
from payouts.models import Payout
from tests.budget import EXAMPLES, SEED
from tests.make import URL, make_payout

pytestmark = pytest.mark.django_db

BY_HAND = {("NEW", "CANCELLED"), ("NEW", "COMPLETED"), ("NEW", "FAILED"), ("FAILED", "NEW")}
LEGAL = BY_HAND | {("NEW", "PROCESSING"), ("PROCESSING", "COMPLETED"), ("PROCESSING", "FAILED")}
MONEY = {"amount", "currency", "recipient_details", "user_id"}
OUTCOMES = {REFUSED_NUMBER: "FAILED", UNKNOWN_NUMBER: "PROCESSING"}

money = {
    "amount": st.integers(1, 10**12 - 1).map(lambda cents: f"{cents // 100}.{cents % 100:02}"),
    "currency": st.sampled_from(["RUB", "USD", "EUR"]),
    "recipient_details": st.sampled_from(["4111111111111111", *OUTCOMES]).map(lambda number: {"number": number}),
    "user_id": st.none() | st.integers(-(2**63), 2**63 - 1),
}
requests = st.fixed_dictionaries(money)
changes = st.fixed_dictionaries(
    {},
    optional={
        **money,
        "comment": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20).map(str.strip),
        "status": st.sampled_from(list(Status)).map(str),
        "failure_reason": st.just("Settled elsewhere."),
        "gateway_reference": st.just("elsewhere-1"),
    },
)


class Row:
    """What a payout must be."""

    def __init__(self, identifier, request, key):
        self.id, self.request, self.key = identifier, request, key
        self.shown = {**request, "comment": "", "status": "NEW", "failure_reason": "", "gateway_reference": ""}
        self.shown["attempt"] = 0
        self.deleted = self.lease_is_over = False

    @property
    def status(self):
        return self.shown["status"]

    def may(self, change):
        target = change.get("status")
        if not change:
            return True
        if self.status == "PROCESSING" or (target and (self.status, target) not in BY_HAND):
            return False
        if change.keys() & MONEY and self.status != "NEW" and target != "NEW":
            return False
        if "failure_reason" in change and target != "FAILED":
            return False
        return "gateway_reference" not in change or target in ("COMPLETED", "FAILED")

    def make(self, change):
        if change.get("status") == "NEW":
            self.shown |= {"failure_reason": "", "gateway_reference": ""}
        if change.get("status") == "FAILED":
            self.shown["failure_reason"] = "Refused by hand."
        self.shown |= change


class Payouts(RuleBasedStateMachine):
    rows = Bundle("rows")
    claimed = Bundle("claimed")

    def __init__(self):
        super().__init__()
        self.api = APIClient()
        self.all = []

    def look(self, row):
        answer = self.api.get(f"{URL}{row.id}/")
        assert answer.status_code == (404 if row.deleted else 200)
        if not row.deleted:
            shown = answer.json()
            assert {name: shown[name] for name in row.shown} == row.shown
            assert (shown["processed_at"] is not None) == (row.status in ("COMPLETED", "FAILED"))

    @rule(target=rows, request=requests, has_key=st.booleans())
    def create(self, request, has_key):
        key = uuid4().hex if has_key else None
        answer = self.api.post(URL, request, headers={"Idempotency-Key": key} if key else {})
        assert answer.status_code == 201
        self.all.append(row := Row(answer.json()["id"], request, key))
        self.look(row)
        return row

    @rule(row=rows, other=requests)
    def send_again(self, row, other):
        if row.key:
            answer = self.api.post(URL, row.request, headers={"Idempotency-Key": row.key})
            assert answer.status_code == (410 if row.deleted else 200)
            answer = self.api.post(URL, {**other, "comment": "another"}, headers={"Idempotency-Key": row.key})
            assert answer.status_code == 422
        self.look(row)

    @rule(row=rows, change=changes)
    def patch(self, row, change):
        answer = self.api.patch(f"{URL}{row.id}/", change)
        may = row.may(change)
        assert answer.status_code == (404 if row.deleted else 200 if may else 409), answer.content
        if answer.status_code == 409:
            allowed = {target for source, target in BY_HAND if source == row.status}
            assert (answer.json()["status"], set(answer.json()["allowed"])) == (row.status, allowed)
        if answer.status_code == 200:
            row.make(change)
        self.look(row)

    @rule(row=rows)
    def delete(self, row):
        answer = self.api.delete(f"{URL}{row.id}/")
        assert answer.status_code == (404 if row.deleted else 409 if row.status == "PROCESSING" else 204)
        row.deleted |= answer.status_code == 204
        self.look(row)

    @rule(target=claimed, row=rows)
    def claim(self, row):
        payout = Payout.objects.claim(row.id, by="a test")
        free = row.status == "NEW" or (row.status == "PROCESSING" and row.lease_is_over)
        assert (payout is not None) == (free and not row.deleted)
        if not payout:
            return multiple()
        row.shown |= {"status": "PROCESSING", "attempt": row.shown["attempt"] + 1}
        row.lease_is_over = False
        self.look(row)
        return row, payout

    @rule(row=rows)
    def die(self, row):
        """The worker that has it in hand, and the lease runs out."""
        long_ago = timezone.now() - timedelta(minutes=1)
        over = Payout.objects.filter(pk=row.id, status=Status.PROCESSING).update(due_at=long_ago)
        assert over == (row.status == "PROCESSING")
        row.lease_is_over = bool(over)

    @rule(one=claimed)
    def pay(self, one):
        """At any time after the claim: others may have claimed and finished it meanwhile."""
        row, payout = one
        tasks.pay(payout)
        if row.status == "PROCESSING" and row.shown["attempt"] == payout.attempt:
            row.shown["status"] = OUTCOMES.get(payout.recipient_details["number"], "COMPLETED")
            row.shown["failure_reason"] = "The sandbox refuses this card." if row.status == "FAILED" else ""
            row.shown.pop("gateway_reference", None)
            row.lease_is_over = False
        self.look(row)

    def teardown(self):
        for row in self.all:
            self.look(row)
            changes = self.api.get(f"{URL}{row.id}/history/?page_size=100").json()["results"]
            statuses = [change["changes"]["status"] for change in changes if "status" in change["changes"]]
            assert statuses[0] == "NEW"
            assert set(pairwise(statuses)) <= LEGAL


def test_the_state_machine_is_its_model():
    machine = seed(SEED)(Payouts)
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    budget = settings(max_examples=max(5, EXAMPLES // 10), stateful_step_count=30, deadline=None, database=None)
    run_state_machine_as_test(machine, settings=settings(budget, suppress_health_check=checks))


@seed(SEED)
@settings(max_examples=EXAMPLES, deadline=None, database=None)
@given(
    amounts=st.lists(st.integers(1, 3), max_size=12),
    size=st.integers(1, 4),
    ordering=st.sampled_from(["created_at", "-created_at", "amount", "-amount"]),
    happenings=st.lists(st.tuples(st.sampled_from(["come", "go", "both"]), st.integers(0, 99)), max_size=20),
)
def test_a_walk_shows_each_row_that_stays_once(amounts, size, ordering, happenings):
    api = APIClient()
    user = Payout.objects.count() + 10**6
    there = [str(make_payout(user_id=user, amount=amount).pk) for amount in amounts]
    staying, seen = set(there), []
    url = f"{URL}?user_id={user}&page_size={size}&ordering={ordering}"
    todo = list(happenings)
    while url and len(seen) < 100:
        page = api.get(url).json()
        seen += [payout["id"] for payout in page["results"]]
        what, number = todo.pop() if todo else ("", 0)
        if what in ("come", "both"):
            make_payout(user_id=user, amount=number % 3 + 1)
        if what in ("go", "both") and there:
            gone = there[number % len(there)]
            api.delete(f"{URL}{gone}/")
            staying.discard(gone)
        url = page["next"]
    assert len(seen) == len(set(seen))
    assert staying <= set(seen)
    assert url is None
