"""Makes a token and prints it, this once: it is stored as a digest only."""

from typing import Any

from django.contrib.auth.models import User
from django.core.management import BaseCommand, CommandError, CommandParser
from django.db import DataError, transaction

from callers.models import Token


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="what tells it from the account's other tokens")
        parser.add_argument("--user", required=True, help="the account that calls with it")
        parser.add_argument("--new-account", action="store_true", help="make this account, which there is not yet")

    def handle(self, *, name: str, user: str, new_account: bool = False, **options: Any) -> None:
        try:
            with transaction.atomic():
                account = make_account(user) if new_account else find_account(user)
                secret = Token(user=account, name=name).issue()
        except (DataError, ValueError) as error:
            raise CommandError(f"No such name can be stored: {error}") from error
        # The token stays alone on the standard output, for scripts.
        self.stderr.write(f"The token {name} of the account {account}, shown only now:", str)
        self.stdout.write(secret)


def find_account(username: str) -> User:
    # Normalised as `create_user` does it: a ligature becomes its letters.
    account = User.objects.filter(username=User.normalize_username(username)).first()
    if not account:
        # With a misspelt one a caller would pay twice: idempotency keys belong to the account.
        raise CommandError(f"There is no account {username}. To make it, add --new-account.")
    return account


def make_account(username: str) -> User:
    if User.objects.filter(username=User.normalize_username(username)).exists():
        raise CommandError(f"There is an account {username} already. To use it, leave out --new-account.")
    return User.objects.create_user(username)
