from collections.abc import Callable
from typing import Any

from celery.worker import consumer


class Consumer(consumer.Consumer):
    def connection_for_read(self, heartbeat: Any = None) -> Any:
        """Remembers a connection at once, so that Celery closes it: a full Redis would leak one for every retry."""
        self.connection = super().connection_for_read(heartbeat)
        return self.connection

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Drops a message that nobody can read. Celery would stop and requeue it, and so stop all workers in turn."""
        handle = super().create_task_handler(*args, **kwargs)

        def receive(message: Any) -> None:
            try:
                handle(message)
            except (AttributeError, LookupError, TypeError, ValueError):
                self.on_unknown_message(None, message)

        return receive
