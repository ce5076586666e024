"""The one table of transitions, and that what is derived from it says the same."""

import re
from dataclasses import replace

import pytest

from payouts import machine, statements
from payouts.machine import TRANSITIONS, Outcome, Status, Who
from tests.local import ROOT
from tests.make import make_payout, url_of

MOVES = {
    ("NEW", "PROCESSING"),
    *(("PROCESSING", target) for target in ("COMPLETED", "FAILED")),
    *(("NEW", target) for target in ("CANCELLED", "COMPLETED", "FAILED")),
    ("FAILED", "NEW"),
}


def test_these_moves_there_are_and_no_others():
    assert {(row.source, row.target) for row in TRANSITIONS if row.source != row.target} == MOVES


def test_the_readme_shows_the_diagram():
    [block] = re.findall(r"```mermaid\n(.*?)\n```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block == machine.diagram()


def test_each_outcome_has_one_transition_and_one_statement():
    assert {row.name for row in TRANSITIONS if row.name in Outcome} == set(statements.FINISH) == set(Outcome)


def test_all_that_lead_a_person_to_one_status_set_the_same():
    for who in (machine.BY_HAND, [Who.PROVIDER]):
        for target in Status:
            rows = machine.transitions(target=target, who=who)
            assert all(row.sets == rows[0].sets for row in rows)


@pytest.mark.django_db
def test_a_row_more_is_a_way_more(api, monkeypatch):
    [settled] = machine.transitions("settle", target=Status.FAILED)
    monkeypatch.setattr(machine, "TRANSITIONS", (*TRANSITIONS, replace(settled, source=Status.COMPLETED)))
    refused = api.patch(url_of(make_payout(Status.COMPLETED)), {"amount": "1.00"})
    assert (refused.status_code, refused.json()["allowed"]) == (409, ["FAILED"])
    assert api.patch(url_of(make_payout(Status.COMPLETED)), {"status": "FAILED"}).json()["status"] == "FAILED"
