"""Django's PostgreSQL, with a test of idle connections that costs no query."""

from django.db.backends.postgresql import base

from runtime.sockets import has_unread_data


class DatabaseWrapper(base.DatabaseWrapper):
    def is_usable(self) -> bool:
        """
        Data on an idle connection means that the server is closing it. A test query would cost a round trip.

        After an error the connection is given up: it may lead to a server that no longer takes writes.
        """
        return not (self.errors_occurred or self.connection.closed or has_unread_data(self.connection.fileno()))
