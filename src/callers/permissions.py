"""Who may call which view."""

from typing import Any

from django.conf import settings
from rest_framework import permissions


class IsCaller(permissions.BasePermission):
    """
    Lets in a caller with a token, and staff with every permission that the view names for the method.

    A view names them in `permissions_to_read` and `permissions_to_change`. Staff may not call a view that names none.
    Everybody may call if the setting is "open".
    """

    setting = "API_AUTH"

    def has_permission(self, request: Any, view: Any) -> bool:
        if request.auth or getattr(settings, self.setting) == "open":
            return True
        reads = request.method in permissions.SAFE_METHODS
        required = getattr(view, "permissions_to_read" if reads else "permissions_to_change", ())
        return bool(required) and request.user.is_staff and request.user.has_perms(required)


class MayReadDocs(IsCaller):
    setting = "DOCS_AUTH"
