import os
import threading
from typing import Any

from celery import Celery, signals
from kombu.asynchronous import get_event_loop

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("payouts")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@signals.worker_shutting_down.connect
def wake_up(**_kwargs: Any) -> None:
    """A signal does not interrupt the poll for messages, which lasts up to ten seconds; another thread can."""
    if loop := get_event_loop():
        threading.Thread(target=loop.call_soon, args=(bool,)).start()
