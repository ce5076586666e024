"""Makes a token and prints it, this once: it is stored as a digest only."""

from typing import Any

from django.contrib.auth.models import User
from django.core.management import BaseCommand, CommandError, CommandParser
from django.db import DataError

from payouts.models import Token


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="what tells it from the account's other tokens")
        parser.add_argument("--user", required=True, help="the account that calls with it, made if there is none")

    def handle(self, *, name: str, user: str, **options: Any) -> None:
        try:
            # As `create_user` writes it: a ligature is its letters.
            account = User.objects.filter(username=User.normalize_username(user)).first() or User.objects.create_user(
                user
            )
            self.stdout.write(Token(user=account, name=name).issue())
        except (DataError, ValueError) as error:
            raise CommandError(f"No such name can be stored: {error}") from error
