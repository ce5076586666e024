"""How a worker stops, and what it then says."""

import threading
from typing import Any

from celery.apps import worker
from kombu.asynchronous import get_event_loop


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


def drop_waiting_tasks(worker_to_stop: Any) -> None:
    """Unacknowledged, they go to another worker. Here they would keep a terminated worker busy."""
    # Bends celery 5.7: the pool of threads has no call of its own for this; remove when it has.
    worker_to_stop.pool.executor.shutdown(wait=False, cancel_futures=True)
