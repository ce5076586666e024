"""Random callers and workers against models: of the machine of statuses, and of a walk through a list."""

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

MOVES_BY_HAND = {("NEW", "CANCELLED"), ("NEW", "COMPLETED"), ("NEW", "FAILED"), ("FAILED", "NEW")}
MOVES = MOVES_BY_HAND | {("NEW", "PROCESSING"), ("PROCESSING", "COMPLETED"), ("PROCESSING", "FAILED")}
MONEY = {"amount", "currency", "recipient_details", "user_id"}
EXPECTED_STATUS = {REFUSED_NUMBER: "FAILED", UNKNOWN_NUMBER: "PROCESSING"}

money_fields = {
    "amount": st.integers(1, 10**12 - 1).map(lambda cents: f"{cents // 100}.{cents % 100:02}"),
    "currency": st.sampled_from(["RUB", "USD", "EUR"]),
    "recipient_details": st.sampled_from(["4111111111111111", *EXPECTED_STATUS]).map(lambda number: {"number": number}),
    "user_id": st.none() | st.integers(-(2**63), 2**63 - 1),
}
requests = st.fixed_dictionaries(money_fields)
changes = st.fixed_dictionaries(
    {},
    optional={
        **money_fields,
        "comment": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20).map(str.strip),
        "status": st.sampled_from(list(Status)).map(str),
        "failure_reason": st.just("Settled elsewhere."),
        "gateway_reference": st.just("elsewhere-1"),
    },
)


class Model:
    """What a payout must look like."""

    def __init__(self, identifier, request, key):
        self.id, self.request, self.key = identifier, request, key
        self.fields = {**request, "comment": "", "status": "NEW", "failure_reason": "", "gateway_reference": ""}
        self.fields["attempt"] = 0
        self.is_deleted = self.lease_is_over = False

    @property
    def status(self):
        return self.fields["status"]

    def allows(self, change):
        target = change.get("status")
        if not change:
            return True
        if self.status == "PROCESSING" or (target and (self.status, target) not in MOVES_BY_HAND):
            return False
        if change.keys() & MONEY and self.status != "NEW" and target != "NEW":
            return False
        if "failure_reason" in change and target != "FAILED":
            return False
        return "gateway_reference" not in change or target in ("COMPLETED", "FAILED")

    def apply(self, change):
        if change.get("status") == "NEW":
            self.fields |= {"failure_reason": "", "gateway_reference": ""}
        if change.get("status") == "FAILED":
            self.fields["failure_reason"] = "Refused by hand."
        self.fields |= change


class PayoutMachine(RuleBasedStateMachine):
    models = Bundle("models")
    claims = Bundle("claims")

    def __init__(self):
        super().__init__()
        self.api = APIClient()
        self.all = []

    def check(self, model):
        answer = self.api.get(f"{URL}{model.id}/")
        assert answer.status_code == (404 if model.is_deleted else 200)
        if not model.is_deleted:
            payout = answer.json()
            assert {name: payout[name] for name in model.fields} == model.fields
            assert (payout["processed_at"] is not None) == (model.status in ("COMPLETED", "FAILED"))

    @rule(target=models, request=requests, has_key=st.booleans())
    def create(self, request, has_key):
        key = uuid4().hex if has_key else None
        answer = self.api.post(URL, request, headers={"Idempotency-Key": key} if key else {})
        assert answer.status_code == 201
        self.all.append(model := Model(answer.json()["id"], request, key))
        self.check(model)
        return model

    @rule(model=models, other=requests)
    def repeat(self, model, other):
        if model.key:
            answer = self.api.post(URL, model.request, headers={"Idempotency-Key": model.key})
            assert answer.status_code == (410 if model.is_deleted else 200)
            answer = self.api.post(URL, {**other, "comment": "another"}, headers={"Idempotency-Key": model.key})
            assert answer.status_code == 422
        self.check(model)

    @rule(model=models, change=changes)
    def patch(self, model, change):
        answer = self.api.patch(f"{URL}{model.id}/", change)
        is_allowed = model.allows(change)
        assert answer.status_code == (404 if model.is_deleted else 200 if is_allowed else 409), answer.content
        if answer.status_code == 409:
            allowed = {target for source, target in MOVES_BY_HAND if source == model.status}
            assert (answer.json()["status"], set(answer.json()["allowed"])) == (model.status, allowed)
        if answer.status_code == 200:
            model.apply(change)
        self.check(model)

    @rule(model=models)
    def delete(self, model):
        answer = self.api.delete(f"{URL}{model.id}/")
        assert answer.status_code == (404 if model.is_deleted else 409 if model.status == "PROCESSING" else 204)
        model.is_deleted |= answer.status_code == 204
        self.check(model)

    @rule(target=claims, model=models)
    def take(self, model):
        payout = Payout.objects.claim(model.id, by="a test")
        is_free = model.status == "NEW" or (model.status == "PROCESSING" and model.lease_is_over)
        assert (payout is not None) == (is_free and not model.is_deleted)
        if not payout:
            return multiple()
        model.fields |= {"status": "PROCESSING", "attempt": model.fields["attempt"] + 1}
        model.lease_is_over = False
        self.check(model)
        return model, payout

    @rule(model=models)
    def die(self, model):
        """The worker that holds the payout dies, and its lease runs out."""
        long_ago = timezone.now() - timedelta(minutes=1)
        count = Payout.objects.filter(pk=model.id, status=Status.PROCESSING).update(due_at=long_ago)
        assert count == (model.status == "PROCESSING")
        model.lease_is_over = bool(count)

    @rule(claim=claims)
    def pay(self, claim):
        """Pays at any time after the claim. Meanwhile others may have claimed and finished the payout."""
        model, payout = claim
        tasks.pay(payout)
        if model.status == "PROCESSING" and model.fields["attempt"] == payout.attempt:
            model.fields["status"] = EXPECTED_STATUS.get(payout.recipient_details["number"], "COMPLETED")
            model.fields["failure_reason"] = "The sandbox refuses this card." if model.status == "FAILED" else ""
            model.fields.pop("gateway_reference", None)
            model.lease_is_over = False
        self.check(model)

    def teardown(self):
        for model in self.all:
            self.check(model)
            changes = self.api.get(f"{URL}{model.id}/history/?page_size=100").json()["results"]
            statuses = [change["changes"]["status"] for change in changes if "status" in change["changes"]]
            assert statuses[0] == "NEW"
            assert set(pairwise(statuses)) <= MOVES


def test_payouts_behave_like_their_model():
    machine = seed(SEED)(PayoutMachine)
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    budget = settings(max_examples=max(5, EXAMPLES // 10), stateful_step_count=30, deadline=None, database=None)
    run_state_machine_as_test(machine, settings=settings(budget, suppress_health_check=checks))


@seed(SEED)
@settings(max_examples=EXAMPLES, deadline=None, database=None)
@given(
    amounts=st.lists(st.integers(1, 3), max_size=12),
    size=st.integers(1, 4),
    ordering=st.sampled_from(["created_at", "-created_at", "amount", "-amount"]),
    events=st.lists(st.tuples(st.sampled_from(["create", "delete", "both"]), st.integers(0, 99)), max_size=20),
)
def test_a_walk_through_a_list_shows_each_payout_that_stays_once(amounts, size, ordering, events):
    api = APIClient()
    user = Payout.objects.count() + 10**6
    initial = [str(make_payout(user_id=user, amount=amount).pk) for amount in amounts]
    staying, walk = set(initial), []
    url = f"{URL}?user_id={user}&page_size={size}&ordering={ordering}"
    while url and len(walk) < 100:
        page = api.get(url).json()
        walk += [payout["id"] for payout in page["results"]]
        event, number = events.pop() if events else ("", 0)
        if event in ("create", "both"):
            make_payout(user_id=user, amount=number % 3 + 1)
        if event in ("delete", "both") and initial:
            pk = initial[number % len(initial)]
            api.delete(f"{URL}{pk}/")
            staying.discard(pk)
        url = page["next"]
    assert len(walk) == len(set(walk))
    assert staying <= set(walk)
    assert url is None
