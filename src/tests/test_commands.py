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


def payouts(*arguments):
    """What it wrote of which payouts, and its exit code."""
    out, end = StringIO(), 0
    try:
        call_command("payouts", *arguments, stdout=out, stderr=out)
    except SystemExit as error:
        end = error.code
    return re.findall(r"^([0-9a-f-]{36})  (.*?)(?:  |$)", out.getvalue(), re.MULTILINE), end


def test_nothing_is_stuck():
    for status in Status:
        make_payout(status)
    assert payouts("stuck") == ([], 0)


def test_what_is_stuck_is_listed(hour):
    new, often = make_payout(Status.NEW), make_payout(Status.PROCESSING, attempt=5)
    left = make_processing(lease_is_over=True)
    make_payout(Status.COMPLETED, attempt=5)
    for payout in (new, make_payout(Status.FAILED)):
        Payout.objects.filter(pk=payout.pk).update(due_at=F("due_at") - hour, created_at=F("created_at") - hour)
    rows, end = payouts("stuck")
    assert rows == [(str(new.pk), "NEW"), (str(left.pk), "PROCESSING"), (str(often.pk), "PROCESSING")]
    assert end == 1


def test_what_was_deleted_is_not_stuck(hour):
    payout = make_payout(Status.NEW)
    Payout.objects.filter(pk=payout.pk).update(created_at=F("created_at") - hour, deleted_at=Now(), due_at=None)
    assert payouts("stuck") == ([], 0)


def test_what_failed_is_sent_back_and_the_rest_is_named():
    failed, completed = make_payout(Status.FAILED), make_payout(Status.COMPLETED)
    rows, end = payouts("retry", str(completed.pk), str(failed.pk))
    assert (rows, end) == ([(str(completed.pk), "is not FAILED")], 1)
    failed.refresh_from_db()
    assert (failed.status, failed.submission) == (Status.NEW, 2)
    assert re.fullmatch(r"command payouts retry, user \w+, [0-9a-f]{32}", failed.changed_by)
