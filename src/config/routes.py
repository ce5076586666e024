"""How PAYOUT_ROUTES and the settings of each gateway are read."""

from datetime import timedelta
from typing import Any

from config.env import Env
from runtime.start import stop_if_unusable, stop_start

DAY = 86_400
CURRENCIES = ("RUB", "USD", "EUR", "*")
# Kind -> where it is, and what its account and its secret are called.
PROVIDERS = {
    "paypal": ("https://api-m.paypal.com", "CLIENT_ID", "CLIENT_SECRET"),
    "yookassa": ("https://api.yookassa.ru", "ACCOUNT_ID", "SECRET_KEY"),
}


def read_routes(env: Env, default: str) -> dict[str, str]:
    """Currency, or * for all others -> the name of its route."""
    routes = {}
    for part in env.parts_of("PAYOUT_ROUTES", r"[^:\s]+:[^:\s]+", *([f"*:{default}"] if default else [])):
        currency, _, name = part.partition(":")
        if currency not in CURRENCIES or currency in routes:
            stop_start("PAYOUT_ROUTES", f"{currency} is none of {', '.join(CURRENCIES)}, or is given twice")
        routes[currency] = name
    return routes


def read_secret(env: Env, name: str) -> str:
    secret: str = env(name, default="")
    if not (secret.isascii() and secret.isprintable()):
        # A file often ends with a line break, which would end the headers of each payment.
        stop_start(name, "a header takes printable ASCII only")
    return secret


def read_provider(env: Env, name: str, *, pays: bool) -> dict[str, str]:
    """
    `yookassa` reads YOOKASSA_URL and so on, `yookassa.north` YOOKASSA_NORTH_URL and so on.

    Whoever does not pay, such as the API, needs no secret.
    """
    kind, _, own = name.partition(".")
    url, user, secret = PROVIDERS[kind]
    prefix = "".join(f"{part.upper()}_" for part in (kind, own) if part)
    options = {
        "url": (env.http_url(f"{prefix}URL") or url).rstrip("/"),
        "user": read_secret(env, f"{prefix}{user}"),
        "secret": read_secret(env, f"{prefix}{secret}"),
    }
    for variable, option in ((user, "user"), (secret, "secret")):
        if pays and not options[option]:
            stop_start(f"{prefix}{variable}", f"the gateway {name} needs one")
    return options


def read_http_gateway(env: Env, name: str) -> dict[str, Any]:
    """`http` reads PAYOUT_GATEWAY_URL and so on, `http.north` PAYOUT_GATEWAY_NORTH_URL and so on."""
    own = name.partition(".")[2].upper()
    prefix = f"PAYOUT_GATEWAY_{own}_" if own else "PAYOUT_GATEWAY_"
    url, lookup_url = env.http_url(f"{prefix}URL"), env.http_url(f"{prefix}LOOKUP_URL")
    if not url:
        stop_start(f"{prefix}URL", f"the gateway {name} needs one")
    if lookup_url and "{key}" not in lookup_url and "{reference}" not in lookup_url:
        stop_start(f"{prefix}LOOKUP_URL", "it has neither {key} nor {reference} in it")
    with stop_if_unusable(f"{prefix}LOOKUP_URL"):
        lookup_url.format(key="", reference="")
    return {
        "url": url,
        "token": read_secret(env, f"{prefix}TOKEN"),
        "lookup_url": lookup_url,
        "notification_token": env(f"{prefix}NOTIFICATION_TOKEN", default=""),
        "remembers": timedelta(seconds=env.between(f"{prefix}REMEMBERS", DAY, 1, 10_000 * DAY)),
        "timeout": env.between(f"{prefix}TIMEOUT", env.between("PAYOUT_GATEWAY_TIMEOUT", 20, 0.01, DAY), 0.01, DAY),
    }
