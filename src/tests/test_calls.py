"""How many more payouts recovery may take."""

import pytest

from payouts.calls import Calls, Kind


def calls_with(repeated=0, **others):
    calls = Calls(64)
    for kind, number in {Kind.REPEATED: repeated, **{Kind(name): number for name, number in others.items()}}.items():
        for _ in range(number):
            calls.begin(kind)
    return calls


@pytest.mark.parametrize(
    ("in_hand", "recovered", "repeated"),
    [
        ({}, 64, 16),
        # However many bells ring, each kind is certain of a quarter.
        ({"bell": 64}, 16, 16),
        ({"bell": 64, "recovered": 16, "repeated": 16}, 0, 0),
        ({"repeated": 16}, 48, 0),
        ({"recovered": 40, "repeated": 10}, 14, 6),
    ],
    ids=str,
)
def test_recovery_takes_what_is_free_and_of_repeated_ones_a_quarter(in_hand, recovered, repeated):
    calls = calls_with(**in_hand)
    assert (calls.room(Kind.RECOVERED), calls.room(Kind.REPEATED)) == (recovered, repeated)


def test_repeated_ones_that_are_quick_leave_a_quarter_to_new_ones():
    calls = calls_with(repeated=100)
    for _ in range(100):
        calls.end(Kind.REPEATED, seconds=0.3)
    assert calls.room(Kind.REPEATED) == 48


def test_one_that_is_slow_brings_them_back_to_their_quarter():
    calls = calls_with(repeated=100)
    for _ in range(99):
        calls.end(Kind.REPEATED, seconds=0.3)
    calls.end(Kind.REPEATED, seconds=20)
    assert calls.room(Kind.REPEATED) == 16
