"""How often a stranger may try a password or a token. Each process counts for itself."""

from django.core.cache import cache
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext_lazy as _

from runtime.rest import ApiError

MAX_FAILURES = 10
# How long a process remembers a failure, and a right password.
REMEMBERED_SECONDS = 300


def cache_key(*parts: str | None) -> str:
    """A key that shows nobody the password or the account in it."""
    return salted_hmac("payouts", repr(parts), algorithm="sha256").hexdigest()


def refuse_after_failures(*keys: str) -> None:
    if any(cache.get(key, 0) >= MAX_FAILURES for key in keys):
        raise ApiError(429, _("Too many wrong passwords or tokens. Try again in a few minutes."), REMEMBERED_SECONDS)


def count_failure(*keys: str) -> None:
    for key in keys:
        cache.set(key, cache.get(key, 0) + 1, REMEMBERED_SECONDS)
