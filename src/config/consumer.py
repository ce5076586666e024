from collections.abc import Callable
from typing import Any

from celery.worker import consumer


class Consumer(consumer.Consumer):
    def connection_for_read(self, heartbeat: Any = None) -> Any:
        """Keeps in sight what Celery would leave open, again and again, while a full Redis refuses the next command."""
        self.connection = super().connection_for_read(heartbeat)
        return self.connection

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Drops a message that nobody can read. Celery would end and give it back, and so end all workers in turn."""
        handle = super().create_task_handler(*args, **kwargs)

        def receive(message: Any) -> None:
            try:
                handle(message)
            except (AttributeError, LookupError, TypeError, ValueError):
                self.on_unknown_message(None, message)

        return receive
