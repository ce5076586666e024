"""The admin's pages of accounts, groups and tokens."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from callers.models import Token
from runtime.admin import never, wrap

# Django registers its own pages of these.
admin.site.unregister((User, Group))


def is_superuser(_admin: Any, request: Any, *_args: Any, **_kwargs: Any) -> bool:
    return request.user.is_superuser


class AdminForSuperusers(ModelAdmin):
    """Whoever may change accounts, or issue tokens for them, can get every permission."""

    has_view_permission = has_add_permission = has_change_permission = has_delete_permission = is_superuser
    has_module_permission = is_superuser


@admin.register(Token)
class TokenAdmin(AdminForSuperusers):
    list_display = ("name", "user", "created_at", "used_at")
    has_change_permission = never

    def save_model(self, request: Any, obj: Token, *args: Any) -> None:
        messages.warning(request, wrap(_("The token, shown only now: %(token)s") % {"token": obj.issue()}))


@admin.register(Group)
class PrettyGroupAdmin(GroupAdmin, AdminForSuperusers):
    pass


@admin.register(User)
class PrettyUserAdmin(UserAdmin, AdminForSuperusers):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """
        Nobody may rename an account.

        A payout keeps its caller's name beside the idempotency key. After a renaming a repeated request with an old
        key would be a new payout.
        """
        return ("username",) if obj else ()
