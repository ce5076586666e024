"""PostgreSQL as Django has it, but for how it finds out that a connection was closed."""

from django.db.backends.postgresql import base

from config.health import speaks


class DatabaseWrapper(base.DatabaseWrapper):
    def is_usable(self) -> bool:
        """Data on an idle connection means that the server is closing it. A test query would cost a round trip."""
        return not self.connection.closed and not speaks(self.connection.fileno())
