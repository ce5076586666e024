from typing import Any

from django.contrib import admin, messages
from django.utils.translation import gettext as _

from payouts.models import Payout, Token


@admin.register(Payout)
class PayoutAdmin(admin.ModelAdmin):
    """A window only: a change goes through the API, along the state machine."""

    list_display = ("id", "user_id", "amount", "currency", "status", "attempt", "created_at")
    list_filter = ("status", "currency")
    exclude = ("recipient_details",)
    show_full_result_count = False

    def has_add_permission(self, *args: Any) -> bool:
        return False

    def has_change_permission(self, *args: Any) -> bool:
        return False

    def has_delete_permission(self, *args: Any) -> bool:
        return False


@admin.register(Token)
class TokenAdmin(admin.ModelAdmin):
    list_display = ("name", "user", "created_at", "used_at")

    def has_change_permission(self, *args: Any) -> bool:
        return False

    def save_model(self, request: Any, obj: Token, *args: Any) -> None:
        messages.warning(request, _("The token, shown only now: %(token)s") % {"token": obj.issue()})
