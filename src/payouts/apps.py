from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.utils.translation import gettext_lazy as _


class PayoutsConfig(AppConfig):
    name = "payouts"
    verbose_name = _("Payouts")


@checks.register(checks.Tags.security, deploy=True)
def check_gateway(**_kwargs: Any) -> list[checks.Warning]:
    if "sandbox" not in settings.PAYOUT_ROUTES.values():
        return []
    message = "PAYOUT_GATEWAY is sandbox: payouts are COMPLETED, and nobody is paid."
    return [checks.Warning(message, id="payouts.PAYOUT_GATEWAY")]
