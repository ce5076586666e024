"""How a start stops: with one line that names the setting and what is wrong with it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from django.core.exceptions import ImproperlyConfigured

NO_URL = "it is not a URL; in a password / # ? % @ and the like are written as %2F and so on"


def stop_start(setting: str, why: object) -> NoReturn:
    sys.exit(f"The setting {setting} cannot be used: {why}")


@contextmanager
def stop_if_unusable(setting: str) -> Iterator[None]:
    """Stops the start if what it encloses fails because of this setting."""
    try:
        yield
    except (ImportError, ImproperlyConfigured, LookupError, OSError, OverflowError, TypeError, ValueError) as error:
        # An error about a URL quotes a part of the URL, which may be the password.
        stop_start(setting, NO_URL if isinstance(error, ValueError) and setting.endswith("_URL") else error)
