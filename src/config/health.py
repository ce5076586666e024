"""Whether the process is alive, can serve, and may start at all."""

import select
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from django.core.exceptions import ImproperlyConfigured
from django.db import Error, InterfaceError, InternalError, OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse

# What is raised when the database is away, or takes no writes: a replica, or one whose disk is full.
AWAY = (InterfaceError, InternalError, OperationalError)


def speaks(descriptor: int) -> bool:
    """Whether there is something to read, unasked, or the end."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def look_at_connection() -> None:
    """Has the connection checked before its next statement, as Django does once for each request."""
    connection.health_check_done = False  # type: ignore[attr-defined]


asking = threading.Lock()


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """For questions that come again and again: a frozen PostgreSQL would keep a thread for each, until none is left."""
    if not asking.acquire(timeout=1):
        raise OperationalError
    try:
        yield
    finally:
        asking.release()


def healthz(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    try:
        with one_at_a_time(), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            pending = pending_migrations()
    except Error:
        return JsonResponse({"status": "the database does not answer"}, status=503)
    if pending:
        pending_migrations.cache_clear()
        return JsonResponse({"status": "the database's schema is not current"}, status=503)
    return JsonResponse({"status": "ok"})


@cache
def pending_migrations() -> bool:
    executor = MigrationExecutor(connection)
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def require_database() -> None:
    """Stops a start with one line."""
    try:
        connection.ensure_connection()
        # Nothing of it is left for processes that are forked.
        connection.close()
    except (Error, ImproperlyConfigured) as error:
        sys.exit(f"The database cannot be used: {' '.join(str(error).split())}")
