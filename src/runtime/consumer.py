"""The part of a worker that takes messages, with two faults of Celery's mended. A setting names it."""

from collections.abc import Callable
from typing import Any

from celery.worker import consumer


class Consumer(consumer.Consumer):
    # Bends celery 5.7: it does not close a connection on which connecting has failed, so a full Redis would leak one
    # for every retry; remove when Celery closes it.
    def connection_for_read(self, heartbeat: Any = None) -> Any:
        """Remembers the connection at once, so that Celery closes it."""
        self.connection = super().connection_for_read(heartbeat)
        return self.connection

    # Bends celery 5.7: it stops on a message that it cannot read and requeues it, which stops all workers in turn;
    # remove when Celery rejects such a message.
    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Drops a message that nobody can read."""
        handle = super().create_task_handler(*args, **kwargs)

        def receive(message: Any) -> None:
            try:
                handle(message)
            except (AttributeError, LookupError, TypeError, ValueError):
                self.on_unknown_message(None, message)

        return receive
