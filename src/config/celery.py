"""How a worker starts and stops: `celery -A config.celery worker`."""

import sys
from typing import Any

import django
from celery import signals
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from prometheus_client import start_http_server

from runtime.broker import app
from runtime.cores import stay_on_a_core
from runtime.database import require_database
from runtime.start import stop_if_unusable

__all__ = ["app"]


@signals.import_modules.connect
def set_up(**_kwargs: Any) -> None:
    stay_on_a_core()
    django.setup()


@signals.worker_init.connect
def refuse_useless_start(**_kwargs: Any) -> None:
    """Stops a worker that could pay nobody."""
    # Imported here, after `django.setup()`. Models need it. And Sentry, which it starts, replaces parts of Celery: what
    # is imported before keeps the old parts, and Sentry would see no task that fails.
    from payouts import gateways
    from runtime import worker

    worker.log_json_only()
    require_database()
    try:
        gateways.routes()
    except ImproperlyConfigured as error:
        sys.exit(str(error))
    if settings.METRICS_PORT:
        with stop_if_unusable("METRICS_PORT"):
            start_http_server(settings.METRICS_PORT)


@signals.worker_shutting_down.connect
def stop_polling(**_kwargs: Any) -> None:
    from runtime import worker

    worker.wake_up()
