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


RISKS = {
    "API_AUTH": ("open", "whoever reaches the API can have money sent"),
    "PAYOUT_GATEWAY": ("sandbox", "payouts are COMPLETED, and nobody is paid"),
}


@checks.register(checks.Tags.security, deploy=True)
def money_goes_where_it_should(**_kwargs: Any) -> list[checks.Warning]:
    taken = [(name, value, why) for name, (value, why) in RISKS.items() if getattr(settings, name) == value]
    return [checks.Warning(f"{name} is {value}: {why}.", id=f"payouts.{name}") for name, value, why in taken]
