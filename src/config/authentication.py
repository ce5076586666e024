"""Who calls: a machine by its token, staff by password or by the admin's session."""

import time
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.contrib.sessions.backends import db
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext_lazy as _
from django.views.csrf import csrf_failure
from rest_framework import authentication, exceptions, permissions
from rest_framework.throttling import BaseThrottle

from config.api import Refused
from payouts.models import Token

MAX_FAILURES = 10
# How long each process remembers, for itself, whose password was right and who failed.
REMEMBERED_SECONDS = 300
# A revoked token stops working within this time.
REVOKED_WITHIN_SECONDS = 1


def sealed(*parts: str | None) -> str:
    return salted_hmac("payouts", repr(parts), algorithm="sha256").hexdigest()


def refuse_after_failures(*names: str) -> None:
    if any(cache.get(name, 0) >= MAX_FAILURES for name in names):
        raise Refused(429, _("Too many wrong passwords or tokens. Try again in a few minutes."), REMEMBERED_SECONDS)


def count_failure(*names: str) -> None:
    for name in names:
        cache.set(name, cache.get(name, 0) + 1, REMEMBERED_SECONDS)


class PasswordBackend(ModelBackend):
    """Hashes a password, for 200 ms of CPU, only if it was not right a moment ago and not too many were wrong."""

    def authenticate(self, request: Any, username: Any = None, password: Any = None, **kwargs: Any) -> User | None:
        if "\0" in username:
            return None
        right, account = sealed(username, password), sealed(username)
        source = sealed("password", BaseThrottle().get_ident(request))
        if hashed := cache.get(right):
            # Whoever has changed the password since, or was locked out, is asked again.
            user = User.objects.filter(username=username, password=hashed, is_active=True).first()
            if user:
                return user
        refuse_after_failures(account, source)
        user = super().authenticate(request, username, password, **kwargs)
        if user is None:
            count_failure(account, source)
        else:
            cache.set(right, user.password, REMEMBERED_SECONDS)
        return user


class ByToken(authentication.TokenAuthentication):
    """Throttles only wrong tokens: callers behind a proxy share its address, and nobody guesses a right one."""

    # Holds right ones only, so it grows with the tokens that there are.
    known: dict[str, tuple[float, tuple[User, int]]] = {}

    def authenticate(self, request: Any) -> tuple[User, int] | None:
        self.request = request
        return super().authenticate(request)

    def authenticate_credentials(self, key: str) -> tuple[User, int]:
        until, found = self.known.get(key, (0, None))
        if found and time.monotonic() < until:
            return found
        if found := Token.find(key):
            self.known[key] = time.monotonic() + REVOKED_WITHIN_SECONDS, found
            return found
        source = sealed("token", BaseThrottle().get_ident(self.request))
        refuse_after_failures(source)
        count_failure(source)
        raise exceptions.AuthenticationFailed


class SessionStore(db.SessionStore):
    def _validate_session_key(self, key: str) -> bool:
        # A quoted cookie can hold a null character, which PostgreSQL does not take.
        return super()._validate_session_key(key) and "\0" not in key  # type: ignore[misc]


# The API shows card numbers and settles, for which the admin asks staff for these.
TO_READ = ("payouts.view_payout", "payouts.view_card_numbers")
TO_CHANGE = (*TO_READ, "payouts.change_payout", "payouts.settle_payout")


class IsCaller(permissions.BasePermission):
    """Whoever has a token, and staff with all permissions for it; everybody if the setting is open."""

    setting = "API_AUTH"

    def has_permission(self, request: Any, view: Any) -> bool:
        if request.auth or getattr(settings, self.setting) == "open":
            return True
        needed = TO_READ if request.method in permissions.SAFE_METHODS else TO_CHANGE
        return request.user.is_staff and request.user.has_perms(needed)


class MayReadDocs(IsCaller):
    setting = "DOCS_AUTH"


def login(request: HttpRequest) -> HttpResponse:
    """The admin's, where too many wrong passwords are a 429."""
    if "HX-Request" in request.headers:
        return load_anew()
    try:
        return admin.site.login(request)
    except Refused as error:
        headers = {"Retry-After": str(error.wait)}
        return HttpResponse(str(error), "text/plain; charset=utf-8", error.status_code, headers=headers)


def forged(request: HttpRequest, reason: str = "") -> HttpResponse:
    if "HX-Request" not in request.headers:
        return csrf_failure(request, reason)
    messages.error(request, _("Nothing was done: you have logged in anew meanwhile. Try again."))
    return load_anew()


def load_anew() -> HttpResponse:
    """A dialog whose session is over shows neither login nor refusal: its page, loaded anew, leads to them."""
    return HttpResponse(status=403, headers={"HX-Refresh": "true"})
