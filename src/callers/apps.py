from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.utils.translation import gettext_lazy as _


class CallersConfig(AppConfig):
    name = "callers"
    verbose_name = _("Callers")


@checks.register(checks.Tags.security, deploy=True)
def check_api_auth(**_kwargs: Any) -> list[checks.Warning]:
    if settings.API_AUTH != "open":
        return []
    message = "API_AUTH is open: whoever reaches the API can have money sent."
    return [checks.Warning(message, id="callers.API_AUTH")]
