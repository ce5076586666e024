"""Django's own `migrate`, safe when every replica of a deployment starts it at the same time."""

import time
from typing import Any

from django.core.management.commands import migrate
from django.db import connections

from runtime.database import require_database

# "payouts" in ASCII.
LOCK = 0x7061796F757473
POLL_SECONDS = 0.2
SETTINGS = """
-- Whoever waits for a table's lock holds up everybody behind it. A statement of the API may hold the lock for two
-- seconds. So this migration fails before that, and is started again.
SET lock_timeout = '1s';
-- The server's limit for statements is too short for an index of a big table.
SET statement_timeout = 0;
-- A frozen migration would keep its locks, and one whose machine is gone would keep them for two hours.
SET idle_in_transaction_session_timeout = '10s';
SET tcp_keepalives_idle = 10;
SET tcp_user_timeout = 20000
"""


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        require_database()
        with connections[options["database"]].cursor() as cursor:
            cursor.execute(SETTINGS)
            # Polls, because a session that waits in pg_advisory_lock deadlocks with CREATE INDEX CONCURRENTLY.
            while not cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchone()[0]:
                time.sleep(POLL_SECONDS)
            try:
                super().handle(*args, **options)
            finally:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
