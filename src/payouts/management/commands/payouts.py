import os
import sys
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.core.management.base import BaseCommand
from django.db.models import Q
from django.db.models.functions import Now

from config import tracing
from payouts.bell import ring
from payouts.models import Payout, Status


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
        late = Now() - timedelta(minutes=1)
        new = Payout.objects.live().filter(status=Status.NEW, updated_at__lt=late)
        asked = Payout.objects.filter(Q(attempt__gte=5) | Q(lease_until__lt=late), status=Status.PROCESSING)
        found = (*new.order_by("created_at")[:500], *asked.order_by("lease_until")[:500])
        return [f"{p.pk}  {p.status}  attempt {p.attempt}  {p.created_at}  {p.changed_by}" for p in found]

    def retry(self, ids: list[UUID]) -> list[str]:
        tracing.request_id.set(uuid4().hex)
        tracing.actor.set(f"command payouts retry, user {os.environ.get('USER') or os.getuid()},")
        sent = [pk for pk in ids if Payout.objects.change(pk, {"status": Status.NEW})]
        for pk in sent:
            ring(Payout(pk=pk))
        return [f"{pk}  is not FAILED" for pk in ids if pk not in sent]
