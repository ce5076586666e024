"""Staff call by password."""

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.core.cache import cache
from rest_framework.throttling import BaseThrottle

from callers.limits import REMEMBERED_SECONDS, cache_key, count_failure, refuse_after_failures


class PasswordBackend(ModelBackend):
    """
    Remembers right passwords, and refuses after too many wrong ones.

    To hash a password takes 200 ms of CPU. An attacker could otherwise keep the CPU busy.
    """

    def authenticate(self, request: Any, username: Any = None, password: Any = None, **kwargs: Any) -> User | None:
        # PostgreSQL takes no null character.
        if "\0" in username:
            return None
        right, account = cache_key(username, password), cache_key(username)
        source = cache_key("password", BaseThrottle().get_ident(request))
        if hashed := cache.get(right):
            # Finds nobody if the password has changed since, or the account is locked.
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
