"""The part of a worker that takes messages, with two faults of Celery's mended. A setting names it."""

import logging
from collections.abc import Callable
from typing import Any

from celery.worker import consumer

from runtime.messages import drops, fault

logger = logging.getLogger(__name__)


class Consumer(consumer.Consumer):
    # Bends celery 5.7: it does not close a connection on which connecting has failed, so a full Redis would leak one
    # for every retry; remove when Celery closes it.
    def connection_for_read(self, heartbeat: Any = None) -> Any:
        """Remembers the connection at once, so that Celery closes it."""
        self.connection = super().connection_for_read(heartbeat)
        return self.connection

    # Bends celery 5.7: a message that is not as it expects stops it, or is never acknowledged, or is logged whole;
    # remove when Celery rejects such a message in a line.
    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Drops a message that is none of ours."""
        handle = super().create_task_handler(*args, **kwargs)
        ours = {name for name in self.app.tasks if not name.startswith("celery.")}

        def receive(message: Any) -> None:
            try:
                if why := fault(message, ours):
                    self.drop(message, why)
                else:
                    handle(message)
            except (AttributeError, LookupError, TypeError, ValueError):
                self.drop(message, "Celery cannot read it")

        return receive

    def drop(self, message: Any, why: str) -> None:
        drops.note(why)
        message.reject_log_error(logger, self.connection_errors)  # type: ignore[attr-defined]

    def on_invalid_task(self, body: Any, message: Any, exc: Any) -> None:
        self.drop(message, "Celery cannot read it")

    def on_decode_error(self, message: Any, exc: Any) -> None:
        self.drop(message, "Celery cannot read it")
