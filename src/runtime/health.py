"""Whether this process is alive, and whether it can serve."""

from functools import cache

from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse

from runtime.database import one_question_at_a_time


def healthz(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    try:
        with one_question_at_a_time(), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            pending = pending_migrations()
    except Error:
        return JsonResponse({"status": "the database does not answer"}, status=503)
    if pending:
        # Forget the answer, because a migration may be running.
        pending_migrations.cache_clear()
        return JsonResponse({"status": "the database's schema is not current"}, status=503)
    return JsonResponse({"status": "ok"})


@cache
def pending_migrations() -> bool:
    executor = MigrationExecutor(connection)
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))
