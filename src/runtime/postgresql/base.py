"""Django's PostgreSQL, where few connections serve many threads: each takes one for a moment and gives it back."""

import threading
import time
from collections import deque
from typing import Any

import psycopg
from django.conf import settings
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import base
from psycopg.pq import TransactionStatus

from runtime.sockets import has_unread_data

# So long a thread waits for one of the connections before it gives up.
WAIT_SECONDS = 5
# After a refusal nobody asks PostgreSQL for a connection for so long: hundreds of threads would ask at once.
REFUSED_SECONDS = 1
# A connection that nobody has needed for so long is closed.
IDLE_SECONDS = 60


class Connections:
    """
    The connections of this process to PostgreSQL, at most DB_CONNECTIONS.

    psycopg's pool does the same, and takes 45 microseconds more for each payout: a twentieth of a worker's time.
    """

    def __init__(self, limit: int) -> None:
        self.room = threading.BoundedSemaphore(limit)
        # The one that was used last is taken first. Those that nobody needs stay on the left.
        self.idle: deque[tuple[float, Any]] = deque()
        self.lock, self.connecting = threading.Lock(), threading.Lock()
        self.refused_until = 0.0
        self.refusal = ""

    def take_room(self) -> None:
        if not self.room.acquire(timeout=WAIT_SECONDS):
            raise psycopg.OperationalError(f"none of the DB_CONNECTIONS was free for {WAIT_SECONDS} s")

    def take_idle(self) -> Any:
        """One that is still connected, if there is any."""
        while True:
            with self.lock:
                if not self.idle:
                    return None
                _since, connection = self.idle.pop()
            # Data on an idle connection means that the server is closing it. A test query would cost a round trip.
            if not has_unread_data(connection.fileno()):
                return connection
            connection.close()

    def open(self, connect: Any) -> Any:
        """One thread at a time asks PostgreSQL, and tells the others of a refusal."""
        with self.connecting:
            if time.monotonic() < self.refused_until:
                raise psycopg.OperationalError(self.refusal)
            try:
                return connect()
            except psycopg.OperationalError as error:
                self.refused_until, self.refusal = time.monotonic() + REFUSED_SECONDS, str(error)
                raise

    def give_back(self, connection: Any) -> None:
        now = time.monotonic()
        with self.lock:
            self.idle.append((now, connection))
            unneeded = self.idle.popleft()[1] if self.idle[0][0] < now - IDLE_SECONDS else None
        if unneeded:
            unneeded.close()

    def close_idle(self) -> None:
        with self.lock:
            while self.idle:
                self.idle.pop()[1].close()


connections = Connections(settings.DB_CONNECTIONS)


class DatabaseWrapper(base.DatabaseWrapper):
    # Bends django 6.1: it gives each thread a connection of its own, and sets up anew what comes from psycopg's pool;
    # remove when its pool costs no more than this.
    def connect(self) -> None:
        """Takes a connection. Only a new one needs all that Django does."""
        if self.alias == NO_DB_ALIAS:
            return super().connect()
        connections.take_room()
        try:
            if connection := connections.take_idle():
                self.connection, self.autocommit = connection, True
                self.in_atomic_block = self.needs_rollback = self.closed_in_transaction = self.errors_occurred = False
                self.savepoint_ids, self.atomic_blocks = [], []
                # Django gives it back at the end of a request, if nobody has done so before.
                self.close_at = 0.0
            else:
                super().connect()
        finally:
            if self.connection is None:
                connections.room.release()

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connect = super().get_new_connection
        return connect(conn_params) if self.alias == NO_DB_ALIAS else connections.open(lambda: connect(conn_params))

    def _close(self) -> None:
        """Gives the connection back. After an error it is closed: it may lead to a server that takes no more writes."""
        if self.alias == NO_DB_ALIAS:
            return super()._close()  # type: ignore[misc]
        try:
            is_idle = self.connection.pgconn.transaction_status == TransactionStatus.IDLE
            if is_idle and not self.errors_occurred and not self.in_atomic_block:
                connections.give_back(self.connection)
            else:
                super()._close()  # type: ignore[misc]
        finally:
            connections.room.release()

    def close_pool(self) -> None:
        connections.close_idle()
