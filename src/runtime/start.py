"""How a start stops: with one line that names the setting and what is wrong with it, or because it is told to."""

import signal
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


# Bends gunicorn 27.0: a new process listens for SIGTERM only when it is set up. Until then the signal is lost: Python
# forgets what comes before it has prepared the process, and the rest goes into a copy of the arbiter's queue, where
# nobody looks. The arbiter waits for half a minute; remove when the signal is not lost.
def hold_sigterm() -> None:
    """Keeps SIGTERM back, in this process and in those that it forks, until `take_sigterm`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def take_sigterm() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
