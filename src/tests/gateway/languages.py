"""The languages that the reference gateway speaks."""

from types import ModuleType

from tests.gateway import contract, paypal, yookassa

LANGUAGES: dict[str, ModuleType] = {module.NAME: module for module in (contract, paypal, yookassa)}


def language_of(path: str) -> ModuleType:
    if path.startswith("/v3/payouts"):
        return yookassa
    return paypal if path.startswith("/v1/") else contract
