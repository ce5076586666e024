"""Django's own `migrate`, safe when every replica of a deployment starts it at the same time."""

import time
from typing import Any

from django.core.management.commands import migrate
from django.db import connections

from config.health import require_database

LOCK = 0x7061796F757473  # "payouts"
POLL_SECONDS = 0.2


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        require_database()
        with connections[options["database"]].cursor() as cursor:
            # All others wait behind whoever waits for a table's lock, and what the API asks may last two seconds, so
            # this fails before, to be started again.
            cursor.execute("SET lock_timeout = '1s'")
            # What the server gives every statement of the service is too short for an index of a big table.
            cursor.execute("SET statement_timeout = 0")
            # A migration that is frozen would keep its locks, too, and one whose machine is gone for two hours.
            cursor.execute("SET idle_in_transaction_session_timeout = '10s'")
            cursor.execute("SET tcp_keepalives_idle = 10; SET tcp_user_timeout = 20000")
            # Polls: a session that waits in pg_advisory_lock deadlocks with CREATE INDEX CONCURRENTLY.
            while not cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchone()[0]:
                time.sleep(POLL_SECONDS)
            try:
                super().handle(*args, **options)
            finally:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
