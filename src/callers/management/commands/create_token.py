"""Makes a token and prints it, this once: it is stored as a digest only."""

from typing import Any

from django.contrib.auth.models import User
from django.core.management import BaseCommand, CommandError, CommandParser
from django.db import DataError

from callers.models import Token


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="what tells it from the account's other tokens")
        parser.add_argument("--user", required=True, help="the account that calls with it, made if there is none")

    def handle(self, *, name: str, user: str, **options: Any) -> None:
        try:
            self.stdout.write(Token(user=find_or_create(user), name=name).issue())
        except (DataError, ValueError) as error:
            raise CommandError(f"No such name can be stored: {error}") from error


def find_or_create(username: str) -> User:
    # Normalised as `create_user` does it: a ligature becomes its letters.
    account = User.objects.filter(username=User.normalize_username(username)).first()
    return account or User.objects.create_user(username)
