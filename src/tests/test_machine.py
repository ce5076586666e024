"""The table of transitions, and what is derived from it."""

import re
from dataclasses import replace

import pytest

from payouts import machine, statements
from payouts.asking import OF_COMPLETED
from payouts.machine import TRANSITIONS, Outcome, Status, Who
from tests.local import ROOT
from tests.make import make_payout, url_of

MOVES = {
    ("NEW", "PROCESSING"),
    *(("PROCESSING", target) for target in ("COMPLETED", "FAILED")),
    *(("NEW", target) for target in ("CANCELLED", "COMPLETED", "FAILED")),
    ("FAILED", "NEW"),
    ("COMPLETED", "FAILED"),
}


def test_the_table_has_these_moves_and_no_others():
    assert {(row.source, row.target) for row in TRANSITIONS if row.source != row.target} == MOVES


def test_the_readme_shows_the_diagram():
    [block] = re.findall(r"```mermaid\n(.*?)\n```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block == machine.diagram()


@pytest.mark.parametrize(
    ("status", "outcomes"), [(Status.PROCESSING, Outcome), (Status.COMPLETED, (*OF_COMPLETED, Outcome.BUSY))]
)
def test_each_outcome_has_one_transition_and_one_statement(status, outcomes):
    names = [row.name for row in TRANSITIONS if row.name in Outcome and row.source == status]
    assert sorted(names) == sorted(outcomes)
    assert {name for name, source in statements.FINISH if source == status} == {*outcomes}


def test_only_the_return_of_the_money_changes_a_completed_payout():
    rows = machine.transitions(source=Status.COMPLETED)
    assert [(row.name, row.target) for row in rows if row.target != Status.COMPLETED] == [("returned", "FAILED")]
    assert all("processed_at" not in row.sets for row in rows)


def test_all_transitions_of_a_person_that_one_statement_makes_set_the_same_columns():
    for target in Status:
        rows = machine.transitions(target=target, who=machine.PEOPLE)
        assert all(row.sets == rows[0].sets for row in rows)
    for name in machine.names(machine.transitions(who=[Who.PROVIDERS_WORD])):
        rows = machine.transitions(name)
        assert all(row.sets == rows[0].sets for row in rows)


@pytest.mark.django_db
def test_a_new_row_of_the_table_is_all_that_a_new_move_needs(api, monkeypatch):
    [transition] = machine.transitions("settle", target=Status.FAILED)
    monkeypatch.setattr(machine, "TRANSITIONS", (*TRANSITIONS, replace(transition, source=Status.COMPLETED)))
    answer = api.patch(url_of(make_payout(Status.COMPLETED)), {"amount": "1.00"})
    assert (answer.status_code, answer.json()["allowed"]) == (409, ["FAILED"])
    assert api.patch(url_of(make_payout(Status.COMPLETED)), {"status": "FAILED"}).json()["status"] == "FAILED"
