import json
import threading
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import django
from celery import Celery, signals
from kombu.asynchronous import get_event_loop
from kombu.transport import filesystem

from config.cores import stay_on_a_core
from config.settings import set_process_defaults

# Celery's own adapter for Django closes connections and caches twice for each task, a twentieth of a worker's time.
app = Celery("payouts", fixups=[])
app.config_from_object("django.conf:settings", namespace="CELERY")


@signals.import_modules.connect
def set_up(**_kwargs: Any) -> None:
    set_process_defaults("payouts-worker", "-c statement_timeout=10s")
    stay_on_a_core()
    django.setup()


@signals.worker_shutting_down.connect
def wake_up(**_kwargs: Any) -> None:
    """A signal does not interrupt the poll for messages, which lasts up to ten seconds; another thread can."""
    if loop := get_event_loop():
        threading.Thread(target=loop.call_soon, args=(bool,)).start()


class WholeMessages(filesystem.Channel):
    """A reader takes a file as soon as it sees it, and dies if it is not complete: so it is renamed into place."""

    def _put(self, queue: str, payload: Any, **_kwargs: Any) -> None:  # type: ignore[override]
        name = f"{time.monotonic_ns()}_{uuid4()}.{queue}.msg"
        unseen = Path(self.control_folder, name)
        unseen.write_text(json.dumps(payload))
        unseen.rename(Path(self.data_folder_out, name))


filesystem.Transport.Channel = WholeMessages
