"""Whether PostgreSQL is available, and what to do while it is not."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

from django.core.exceptions import ImproperlyConfigured
from django.db import Error, InterfaceError, InternalError, OperationalError, connection
from psycopg.errors import DeadlockDetected, LockNotAvailable, QueryCanceled

logger = logging.getLogger(__name__)

# Raised when the database is away or takes no writes, as a replica or one whose disk is full.
UNAVAILABLE = (InterfaceError, InternalError, OperationalError)

# Somebody else has locked what the statement wants. PostgreSQL itself is well.
HELD_UP = (QueryCanceled, LockNotAvailable, DeadlockDetected)
# In an outage one thread tries again after so long.
PAUSE_SECONDS = 0.5

_question, _warning = threading.Lock(), threading.Lock()


@contextmanager
def one_question_at_a_time() -> Iterator[None]:
    """
    Guards questions that monitoring repeats.

    A frozen PostgreSQL keeps the thread of each question. Without this the questions would take all threads.
    """
    if not _question.acquire(timeout=1):
        raise OperationalError
    try:
        yield
    finally:
        _question.release()


def give_back_connection() -> None:
    """Lets another thread have it. Whoever waits for anything else than PostgreSQL holds none."""
    # Inside a transaction it could only be lost.
    if not connection.in_atomic_block:
        connection.close()


@lru_cache
def warn(reason: str, minute: float) -> None:
    logger.warning("waits for the database: %s", reason)


def warn_once_a_minute(error: Exception) -> None:
    """Hundreds of threads meet the same error. The cache answers all calls of a minute but the first."""
    with _warning:
        warn(str(error), time.monotonic() // 60)


def is_held_up(error: Exception) -> bool:
    return isinstance(error.__cause__, HELD_UP)


class Patience:
    """
    Repeats what PostgreSQL refuses until PostgreSQL takes it: one thread at a time, and the others wait for it.

    Whoever is held up by a lock alone gets the error at once.
    """

    def __init__(self, may_try: Callable[[], bool], gives_up: Callable[[], bool]) -> None:
        self.may_try, self.gives_up = may_try, gives_up
        self.turn = threading.Lock()

    def run[Result](self, statement: Callable[[], Result]) -> Result:
        if self.may_try():
            with self._refusal_is_no_end():
                return statement()
        with self.turn:
            while not self.gives_up():
                if self.may_try():
                    with self._refusal_is_no_end():
                        return statement()
                time.sleep(PAUSE_SECONDS)
        raise OperationalError("the database has not come back in time")

    @contextmanager
    def _refusal_is_no_end(self) -> Iterator[None]:
        try:
            yield
        except UNAVAILABLE as error:
            if is_held_up(error):
                raise
            warn_once_a_minute(error)


def require_database() -> None:
    """Stops a start with one line if the database cannot be used."""
    try:
        connection.ensure_connection()
        connection.close()
        # Close it, so that forked processes do not share the socket.
        connection.close_pool()  # type: ignore[attr-defined]
    except (Error, ImproperlyConfigured) as error:
        sys.exit(f"The database cannot be used: {' '.join(str(error).split())}")
