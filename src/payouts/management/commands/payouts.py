import os
import sys
from argparse import ArgumentParser
from typing import Any
from uuid import UUID, uuid4

from django.core.management.base import BaseCommand
from django.db.models import Q
from django.db.models.functions import Now

from payouts.bell import announce
from payouts.machine import Status
from payouts.models import Payout
from payouts.querysets import OVERDUE_AFTER

LISTED = 500
MANY_ATTEMPTS = 5


class Command(BaseCommand):
    help = "Lists payouts that get nowhere; or retries FAILED ones and lists the others. Exits with 1 if it lists any."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("what", choices=["stuck", "retry"])
        parser.add_argument("id", nargs="*", type=UUID)

    def handle(self, *args: Any, what: str, **options: Any) -> None:
        if listed := self.stuck() if what == "stuck" else self.retry(options["id"]):
            self.stdout.write("\n".join(listed))
            sys.exit(1)

    def stuck(self) -> list[str]:
        late = Q(due_at__lt=Now() - OVERDUE_AFTER) | Q(due_at=None)
        processing = Payout.objects.processing().filter(Q(attempt__gte=MANY_ATTEMPTS) | late)
        stuck = (*Payout.objects.overdue().order_by("due_at")[:LISTED], *processing.order_by("due_at")[:LISTED])
        return [f"{p.pk}  {p.status}  attempt {p.attempt}  {p.created_at}  {p.changed_by}" for p in stuck]

    def retry(self, ids: list[UUID]) -> list[str]:
        by = f"command payouts retry, user {os.environ.get('USER') or os.getuid()}, {uuid4().hex}"
        sent = [pk for pk in ids if Payout.objects.change(pk, {"status": Status.NEW}, by=by)]
        for pk in sent:
            announce(Payout(pk=pk))
        return [f"{pk}  is not FAILED" for pk in ids if pk not in sent]
