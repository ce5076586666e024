"""The command `payouts`: it lists stuck payouts and retries failed ones."""

import re
from io import StringIO

import pytest
from django.core.management import call_command
from django.db.models import F
from django.db.models.functions import Now

from payouts.machine import Status
from payouts.models import Payout
from tests.make import make_payout, make_processing

pytestmark = pytest.mark.django_db


def run(*arguments):
    """The lines that the command writes, each as an id and its text, and the exit code."""
    out, code = StringIO(), 0
    try:
        call_command("payouts", *arguments, stdout=out, stderr=out)
    except SystemExit as error:
        code = error.code
    return re.findall(r"^([0-9a-f-]{36})  (.*?)(?:  |$)", out.getvalue(), re.MULTILINE), code


def test_new_payouts_are_not_stuck():
    for status in Status:
        make_payout(status)
    assert run("stuck") == ([], 0)


def test_stuck_lists_late_payouts_and_those_with_many_attempts(hour):
    late, stubborn = make_payout(Status.NEW), make_payout(Status.PROCESSING, attempt=5)
    abandoned = make_processing(lease_is_over=True)
    make_payout(Status.COMPLETED, attempt=5)
    for payout in (late, make_payout(Status.FAILED)):
        Payout.objects.filter(pk=payout.pk).update(due_at=F("due_at") - hour, created_at=F("created_at") - hour)
    lines, code = run("stuck")
    assert lines == [(str(late.pk), "NEW"), (str(abandoned.pk), "PROCESSING"), (str(stubborn.pk), "PROCESSING")]
    assert code == 1


def test_a_deleted_payout_is_not_stuck(hour):
    payout = make_payout(Status.NEW)
    Payout.objects.filter(pk=payout.pk).update(created_at=F("created_at") - hour, deleted_at=Now(), due_at=None)
    assert run("stuck") == ([], 0)


def test_retry_sends_failed_payouts_back_and_lists_the_others():
    failed, completed = make_payout(Status.FAILED), make_payout(Status.COMPLETED)
    lines, code = run("retry", str(completed.pk), str(failed.pk))
    assert (lines, code) == ([(str(completed.pk), "is not FAILED")], 1)
    failed.refresh_from_db()
    assert (failed.status, failed.submission) == (Status.NEW, 2)
    assert re.fullmatch(r"command payouts retry, user \w+, [0-9a-f]{32}", failed.changed_by)
