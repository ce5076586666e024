"""Django's own `migrate`, safe when every replica of a deployment starts it at the same time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.commands import migrate
from django.db import connections

from config.health import require_database

LOCK = 0x7061796F757473  # "payouts"
POLL_SECONDS = 0.2


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        require_database()
        with advisory_lock(options["database"]):
            super().handle(*args, **options)


@contextmanager
def advisory_lock(database: str) -> Iterator[None]:
    """Polls: a session that waits in pg_advisory_lock deadlocks with CREATE INDEX CONCURRENTLY."""
    with connections[database].cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        while True:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
            if cursor.fetchone() == (True,):
                break
            time.sleep(POLL_SECONDS)
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
