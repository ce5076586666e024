from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.utils.translation import gettext_lazy as _

from config import telemetry


class PayoutsConfig(AppConfig):
    name = "payouts"
    verbose_name = _("Payouts")

    def ready(self) -> None:
        # In every process, and before Django loads its middleware.
        telemetry.start()


@checks.register(checks.Tags.security, deploy=True)
def callers_are_known(**_kwargs: Any) -> list[checks.Warning]:
    is_open = checks.Warning("API_AUTH is open: whoever reaches the API can have money sent.", id="payouts.W001")
    return [is_open] if settings.API_AUTH == "open" else []
