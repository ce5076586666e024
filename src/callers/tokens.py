"""Machines call by token."""

import time
from typing import Any

from django.contrib.auth.models import User
from rest_framework import authentication, exceptions
from rest_framework.throttling import BaseThrottle

from callers.limits import cache_key, count_failure, refuse_after_failures
from callers.models import Token

# A revoked token stops working within this time.
REVOKED_WITHIN_SECONDS = 1


class TokenAuthentication(authentication.TokenAuthentication):
    """
    Refuses an address that tries wrong tokens, but never a right token.

    Callers behind one proxy share an address, and nobody guesses a right token.
    """

    # Contains right tokens only, so it is no longer than the table of tokens.
    known: dict[str, tuple[float, tuple[User, int]]] = {}

    def authenticate(self, request: Any) -> tuple[User, int] | None:
        self.request = request
        return super().authenticate(request)

    def authenticate_credentials(self, key: str) -> tuple[User, int]:
        known_until, caller = self.known.get(key, (0, None))
        if caller and time.monotonic() < known_until:
            return caller
        if caller := Token.find(key):
            self.known[key] = time.monotonic() + REVOKED_WITHIN_SECONDS, caller
            return caller
        source = cache_key("token", BaseThrottle().get_ident(self.request))
        refuse_after_failures(source)
        count_failure(source)
        raise exceptions.AuthenticationFailed
