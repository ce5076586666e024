"""The API's `/metrics`: the counts of its processes together, and what is in the database's tables."""

import os
from hmac import compare_digest

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest, multiprocess
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

# For collectors that read tables. A worker does not show them, because the API does.
TABLE_METRICS = CollectorRegistry()


def show(request: HttpRequest) -> HttpResponse:
    header, token = request.headers.get("Authorization", ""), settings.METRICS_TOKEN
    if token and not compare_digest(header.encode(), f"Bearer {token}".encode()):
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    body = generate_latest(TABLE_METRICS) + generate_latest(process_metrics())
    return HttpResponse(body, content_type=CONTENT_TYPE_PLAIN_0_0_4)


def process_metrics() -> Collector:
    """Those of all processes of Gunicorn, or of this process where there is no Gunicorn."""
    together = "PROMETHEUS_MULTIPROC_DIR" in os.environ
    return multiprocess.MultiProcessCollector(None) if together else REGISTRY
