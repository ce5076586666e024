"""What each request passes; and `/metrics`: the counts of this process, or of Gunicorn's together, and of the table."""

import logging
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from hmac import compare_digest
from http import HTTPMethod

from django.conf import settings
from django.db import Error
from django.http import HttpRequest, HttpResponse
from prometheus_client import REGISTRY, Histogram, disable_created_metrics, multiprocess
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector
from rest_framework.throttling import BaseThrottle
from uuid_utils import uuid4

from config.health import one_at_a_time
from config.tracing import actor, request_id, without_card_numbers
from payouts.models import Payout, Status

disable_created_metrics()
REQUESTS = Histogram("http_request_duration_seconds", "Requests to the API.", ["method", "route", "status"])
USABLE_ID = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)
access = logging.getLogger("access")


def middleware(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Names each request, measures it and writes its line of the log."""

    def observed(request: HttpRequest) -> HttpResponse:
        # Prometheus calls a pod by its address, which is none of ALLOWED_HOSTS.
        if request.path == "/metrics":
            return show(request)
        given = request.headers.get("X-Request-ID", "")
        request_id.set(given if USABLE_ID.fullmatch(given) else uuid4().hex)
        actor.set("api")
        began = time.perf_counter()
        response = get_response(request)
        duration = time.perf_counter() - began
        response["X-Request-ID"] = request_id.get()
        if request.path.startswith("/api/"):
            # A browser would keep card numbers on its disk.
            response["Cache-Control"] = "no-store"
        # A caller can make up any number of methods and paths, but not of series.
        method = request.method if request.method in HTTPMethod.__members__ else "other"
        route = request.resolver_match.route if request.resolver_match else "other"
        REQUESTS.labels(method, route, response.status_code).observe(duration)
        # Without the query, where people put names and numbers.
        path, client = without_card_numbers(request.path), BaseThrottle().get_ident(request)  # type: ignore[arg-type]
        asked = {"method": request.method, "path": path, "client": client}
        said = {"status": response.status_code, "bytes": int(response.headers.get("Content-Length", 0))}
        access.info("request", extra={"fields": {**asked, **said, "duration": round(duration, 6)}})
        # What this thread does next is another request's, or nobody's.
        request_id.set("-")
        return response

    return observed


class InFlight(Collector):
    def collect(self) -> list[GaugeMetricFamily]:
        count = GaugeMetricFamily("payouts_in_flight", "Payouts, counted to 10,000.", labels=["status"])
        oldest = GaugeMetricFamily("payouts_oldest_seconds", "The age of the oldest payout.", labels=["status"])
        # Without a database the rest is still told.
        with suppress(Error), one_at_a_time():
            for status, order in ((Status.NEW, "created_at"), (Status.PROCESSING, "lease_until")):
                found = Payout.objects.filter(status=status).census(order)
                count.add_metric([status], found["number"])
                oldest.add_metric([status], found["age"].total_seconds() if found["age"] else 0)
        return [count, oldest]


def show(request: HttpRequest) -> HttpResponse:
    given, token = request.headers.get("Authorization", ""), settings.METRICS_TOKEN
    if token and not compare_digest(given.encode(), f"Bearer {token}".encode()):
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    together = "PROMETHEUS_MULTIPROC_DIR" in os.environ
    counted = multiprocess.MultiProcessCollector(None) if together else REGISTRY
    return HttpResponse(generate_latest(InFlight()) + generate_latest(counted), content_type=CONTENT_TYPE_PLAIN_0_0_4)
