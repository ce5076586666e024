"""How settings are read from the environment, and what is refused."""

import os
import re
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from celery.utils.serialization import strtobool
from kombu import Connection

from runtime.start import NO_URL, stop_if_unusable, stop_start


def http_url(url: str) -> str:
    parts = urlsplit(url)
    if not re.fullmatch(r"https?://[!-~]+", url) or not parts.hostname or parts.port == 0:
        raise ValueError(NO_URL)
    return url


class Env(environ.Env):
    """Stops the start with one line when a setting is missing or unusable. An empty setting counts as missing."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.read_env(file)
        # Escaped, because environ would read a password that begins with $ as the name of another variable.
        self.ENVIRON = {name: value.replace("$", r"\$") for name, value in os.environ.items() if value}
        self.escape_proxy = True

    def get_value(self, var: str, *args: Any, **kwargs: Any) -> Any:
        with stop_if_unusable(var):
            return super().get_value(var, *args, **kwargs)

    def flag(self, var: str, *, default: bool) -> bool:
        """Not `bool`, which takes everything that it does not know, even a typing error, for False."""
        return bool(self.get_value(var, cast=strtobool, default=default))

    def url_of(self, var: str, default: str, *schemes: str) -> str:
        url: str = self(var, default=default)
        if url and not url.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            stop_start(var, f"it does not begin with {schemes[0]}://")
        return url

    def http_url(self, var: str) -> str:
        return str(self.get_value(var, cast=http_url, default=""))

    def broker_url(self, var: str, default: str, *schemes: str) -> str:
        """A URL that kombu can read, and whose library is installed."""
        url = self.url_of(var, default, *schemes)
        with stop_if_unusable(var):
            if url.startswith("redis"):
                # Imported here, because kombu's error does not name what is missing.
                import_module("redis")
            Connection(url).transport  # noqa: B018
        return url

    def parts_of(self, var: str, form: str, *default: str) -> list[str]:
        """What is between its commas."""
        parts = [part.strip() for part in self.list(var, default=default)]
        if not all(re.fullmatch(form, part) for part in parts):
            stop_start(var, f"not all of it is like {form}")
        return parts

    def one_of(self, var: str, default: str, *values: str) -> str:
        value: str = self(var, default=default)
        if value not in values:
            stop_start(var, f"it is none of {', '.join(values)}")
        return value

    def between(self, var: str, default: Any, least: float, most: float) -> Any:
        # The type of `least` decides. `partial`, because environ reads 1e3 as 13 if the cast is `float` itself.
        value = self.get_value(var, cast=partial(type(least)), default=default)
        if not least <= value <= most:
            stop_start(var, f"it is not between {least} and {most}")
        return value
