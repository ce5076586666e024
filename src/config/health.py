"""Whether the process is alive, can serve, and may start at all."""

import sys
from functools import cache

import psycopg
from django.db import Error, InterfaceError, InternalError, OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse

# What is raised when the database is away, or takes no writes: a replica, or one whose disk is full.
AWAY = (InterfaceError, InternalError, OperationalError)


def hang_up() -> None:
    """Closes a failed connection, which the pool would keep: if this server takes no writes, another one may."""
    if connection.connection:
        connection.connection.close()


def healthz(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    try:
        with connection.cursor() as cursor:
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
    """Stops a start with one line. Connects past the pool, which would hide the reason behind its time-out."""
    try:
        psycopg.connect(**connection.get_connection_params()).close()
    except psycopg.Error as error:
        sys.exit(f"The database cannot be used: {' '.join(str(error).split())}")
