"""Whether PostgreSQL is available."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.exceptions import ImproperlyConfigured
from django.db import Error, InterfaceError, InternalError, OperationalError, close_old_connections, connection

# Raised when the database is away or takes no writes, as a replica or one whose disk is full.
UNAVAILABLE = (InterfaceError, InternalError, OperationalError)

_question = threading.Lock()


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


def check_connection() -> None:
    """Has the connection checked before its next statement, as Django does once for each request."""
    # Inside a transaction it could only be lost.
    if not connection.in_atomic_block:
        close_old_connections()


def require_database() -> None:
    """Stops a start with one line if the database cannot be used."""
    try:
        connection.ensure_connection()
        # Close it, so that forked processes do not share the socket.
        connection.close()
    except (Error, ImproperlyConfigured) as error:
        sys.exit(f"The database cannot be used: {' '.join(str(error).split())}")
