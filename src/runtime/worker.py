"""How a worker stops, and what it then says."""

import math
import threading
import time
from typing import Any

from celery.apps import worker
from kombu.asynchronous import get_event_loop


class Stopping(threading.Event):
    """Set by SIGTERM: nothing new is taken from then on. What is in hand must be done before the deadline."""

    deadline = math.inf

    def begin(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        self.set()

    def is_over(self) -> bool:
        return time.monotonic() > self.deadline


stopping = Stopping()


def wake_up() -> None:
    """
    Ends the worker's poll for messages, which lasts up to ten seconds.

    A signal does not interrupt the poll, and neither does a call from the thread that polls. So another thread calls.
    """
    if loop := get_event_loop():
        threading.Thread(target=loop.call_soon, args=(lambda: None,)).start()


def log_json_only() -> None:
    # Bends celery 5.7: a worker that is told to stop writes a line past the log; remove when Celery logs that line.
    worker.safe_say = lambda *_args: None  # type: ignore[attr-defined]


# Bends celery 5.7: its pool of threads can neither run anything but a task nor drop what waits; remove when it can.
def submit(pool: Any, function: Any, *args: Any) -> Any:
    """Has a thread of the pool call this, after what waits already."""
    return pool.executor.submit(function, *args)


def drop_waiting_tasks(pool: Any) -> None:
    """Unacknowledged, they go to another worker. Here they would keep a terminated worker busy."""
    pool.executor.shutdown(wait=False, cancel_futures=True)
