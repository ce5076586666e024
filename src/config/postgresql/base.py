"""PostgreSQL as Django has it, but for when a connection is given up."""

from django.db.backends.postgresql import base

from config.health import speaks


class DatabaseWrapper(base.DatabaseWrapper):
    def is_usable(self) -> bool:
        """
        Data on an idle connection means that the server is closing it; a test query would cost a round trip. One that
        had an error may be to a server that takes no writes, when another one does.
        """
        return not (self.errors_occurred or self.connection.closed or speaks(self.connection.fileno()))
