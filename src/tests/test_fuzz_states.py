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
from payouts.gateways import returned, sandbox
from payouts.machine import Status
from payouts.models import Payout
from tests.budget import EXAMPLES, SEED
from tests.make import URL, make_payout

pytestmark = pytest.mark.django_db

MOVES_BY_HAND = {("NEW", "CANCELLED"), ("NEW", "COMPLETED"), ("NEW", "FAILED"), ("FAILED", "NEW")}
MOVES = MOVES_BY_HAND | {("NEW", "PROCESSING"), ("PROCESSING", "COMPLETED"), ("PROCESSING", "FAILED")}
MOVES |= {("COMPLETED", "FAILED")}
MONEY = {"amount", "currency", "recipient_details", "user_id"}
# By number: what the sandbox says when it is paid, and when it is looked up.
SAYS_PAID, SAYS_REFUSED, SAYS_NOTHING = "COMPLETED", "FAILED", "PROCESSING"
ANSWERS = {
    sandbox.REFUSED_NUMBER: (SAYS_REFUSED, SAYS_REFUSED),
    sandbox.UNKNOWN_NUMBER: (SAYS_NOTHING, SAYS_NOTHING),
    sandbox.PENDING_PAID_NUMBER: (SAYS_NOTHING, SAYS_PAID),
    sandbox.PENDING_REFUSED_NUMBER: (SAYS_NOTHING, SAYS_REFUSED),
}

money_fields = {
    "amount": st.integers(1, 10**12 - 1).map(lambda cents: f"{cents // 100}.{cents % 100:02}"),
    "currency": st.sampled_from(["RUB", "USD", "EUR"]),
    "recipient_details": st.sampled_from(["4111111111111111", *sandbox.CARDS]).map(lambda number: {"number": number}),
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
        "reason": st.just("Ann says so."),
    },
)


class Model:
    """What a payout must look like."""

    def __init__(self, identifier, request, key):
        self.id, self.request, self.key = identifier, request, key
        self.fields = {**request, "comment": "", "status": "NEW", "failure_reason": "", "gateway_reference": ""}
        self.fields["attempt"] = 0
        self.is_deleted = False
        # Whether a worker holds it, whether a worker may take it (again), and whether its key was ever sent.
        self.is_taken = self.is_due = self.was_asked = False

    @property
    def status(self):
        return self.fields["status"]

    @property
    def is_open(self):
        """Whether it can be settled on the provider's word."""
        return self.status == "PROCESSING" and (self.is_due or not self.is_taken)

    def expected_code(self, change):
        target, names = change.get("status"), change.keys() - {"reason"}
        if not names:
            return 200
        does_not_fit = ("failure_reason" in names and target != "FAILED") or (
            "gateway_reference" in names and target not in ("COMPLETED", "FAILED")
        )
        if self.is_open and target in ("COMPLETED", "FAILED") and not names & {*MONEY, "comment"}:
            return 409 if does_not_fit else 200 if "reason" in change else 400
        is_illegal = self.status == "PROCESSING" or (target and (self.status, target) not in MOVES_BY_HAND)
        is_too_late = names & MONEY and self.status != "NEW" and target != "NEW"
        return 409 if does_not_fit or is_illegal or is_too_late else 200

    @property
    def allowed(self):
        if self.status == "PROCESSING":
            return {"COMPLETED", "FAILED"} if self.is_open else set()
        return {target for source, target in MOVES_BY_HAND if source == self.status}

    def apply(self, change):
        target = change.get("status")
        if target == "NEW":
            self.fields |= {"failure_reason": "", "gateway_reference": ""}
            self.was_asked = False
        if target == "FAILED":
            self.fields["failure_reason"] = change.get("reason", "Refused by hand.")
        if target and self.status == "PROCESSING":
            # This fences off a worker that was frozen.
            self.fields["attempt"] += 1
        if target:
            self.is_taken = self.is_due = False
        self.fields |= {name: value for name, value in change.items() if name != "reason"}

    def answer(self, number, *, is_first):
        """Writes what the sandbox says of this number."""
        says = ANSWERS.get(number, (SAYS_PAID, SAYS_PAID))[0 if is_first else 1]
        self.is_taken = self.is_due = False
        # It is kept as soon as the sandbox names it.
        self.fields.pop("gateway_reference", None)
        if self.status == "COMPLETED":
            if number == sandbox.RETURNED_NUMBER:
                reason = returned("The sandbox returns this card's money.").failure_reason
                self.fields |= {"status": "FAILED", "failure_reason": reason}
            return
        self.fields["status"] = says
        self.fields["failure_reason"] = "The sandbox refuses this card." if says == SAYS_REFUSED else ""


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
        code = 404 if model.is_deleted else model.expected_code(change)
        assert answer.status_code == code, answer.content
        if answer.status_code == 409:
            assert (answer.json()["status"], {*answer.json()["allowed"]}) == (model.status, model.allowed)
        if answer.status_code == 200:
            model.apply(change)
        self.check(model)

    @rule(model=models)
    def delete(self, model):
        answer = self.api.delete(f"{URL}{model.id}/")
        is_refused = model.status == "PROCESSING" or model.is_taken
        assert answer.status_code == (404 if model.is_deleted else 409 if is_refused else 204)
        model.is_deleted |= answer.status_code == 204
        self.check(model)

    @rule(target=claims, model=models)
    def take(self, model):
        payout = Payout.objects.claim(model.id, by="a test")
        assert (payout is not None) == ((model.status == "NEW" or model.is_due) and not model.is_deleted)
        if not payout:
            return multiple()
        model.fields["attempt"] += 1
        if model.status == "NEW":
            model.fields["status"] = "PROCESSING"
        claim = model, payout, not model.was_asked
        model.is_taken, model.is_due, model.was_asked = True, False, True
        self.check(model)
        return claim

    @rule(model=models)
    def wait(self, model):
        """The lease of a worker that died runs out, or the time comes to ask again."""
        long_ago = timezone.now() - timedelta(minutes=1)
        waiting = Payout.objects.filter(pk=model.id, status__in=["PROCESSING", "COMPLETED"], due_at__isnull=False)
        count = waiting.update(due_at=long_ago)
        assert count or model.status != "PROCESSING"
        model.is_due = bool(count)

    @rule(model=models)
    def notify(self, model):
        """The provider says that something happened. That shortens no lease."""
        key = Payout.objects.get(pk=model.id).gateway_key
        hinted = Payout.objects.hint("sandbox", [key], by="a test")
        can_be_asked = model.was_asked and model.status in ("PROCESSING", "COMPLETED") and not model.is_deleted
        assert bool(hinted) == (can_be_asked and not model.is_taken and not model.is_due)
        model.is_due |= bool(hinted)
        self.check(model)

    @rule(claim=claims)
    def pay(self, claim):
        """Pays at any time after the claim. Meanwhile others may have claimed and finished the payout."""
        model, payout, is_first = claim
        tasks.pay(payout)
        if model.status == payout.status and model.fields["attempt"] == payout.attempt and model.is_taken:
            model.answer(payout.recipient_details["number"], is_first=is_first)
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
