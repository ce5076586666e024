from collections.abc import Callable
from typing import Any

from celery.worker import consumer


class Consumer(consumer.Consumer):
    """Drops a message that nobody can read. Celery would end and give it back, and so end one worker after another."""

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        handle = super().create_task_handler(*args, **kwargs)

        def receive(message: Any) -> None:
            try:
                handle(message)
            except (AttributeError, LookupError, TypeError, ValueError):
                self.on_unknown_message(None, message)

        return receive
