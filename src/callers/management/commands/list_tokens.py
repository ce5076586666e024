"""Lists the tokens: the number of each, its account, its name, when it was made and when it was last used."""

from typing import Any

from django.core.management import BaseCommand

from callers.models import Token


class Command(BaseCommand):
    help = __doc__

    def handle(self, **options: Any) -> None:
        for token in Token.objects.select_related("user").order_by("user__username", "pk"):
            used = f"used {token.used_at:%Y-%m-%d}" if token.used_at else "never used"
            self.stdout.write(f"{token.pk}\t{token.user}\t{token.name}\tmade {token.created_at:%Y-%m-%d}\t{used}")
