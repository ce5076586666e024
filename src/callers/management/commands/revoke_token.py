"""Deletes a token, by its number in `list_tokens`. It stops working within a second."""

from typing import Any

from django.core.management import BaseCommand, CommandError, CommandParser

from callers.models import Token


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("number", type=int, help="as `list_tokens` shows it")

    def handle(self, *, number: int, **options: Any) -> None:
        token = Token.objects.select_related("user").filter(pk=number).first()
        if not token:
            raise CommandError(f"There is no token {number}.")
        token.delete()
        self.stdout.write(f"Revoked: the token {token.name} of the account {token.user}.")
