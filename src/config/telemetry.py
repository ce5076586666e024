"""Traces and errors: each on by its own variable alone, else not even imported. Neither is told a card number."""

import os
from collections.abc import Callable
from typing import Any

from django.conf import settings

from config.settings import env
from config.tracing import masked, request_id


def start() -> None:
    env.get_value("OTEL_EXPORTER_OTLP_ENDPOINT", cast=trace_requests, default="")
    env.get_value("SENTRY_DSN", cast=report_errors, default="")


def trace_requests(_endpoint: str) -> None:
    import requests
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.celery import CeleryInstrumentor
    from opentelemetry.instrumentation.django import DjangoInstrumentor
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    class Session(requests.Session):
        def send(self, request: Any, **kwargs: Any) -> requests.Response:
            spans = ExportTraceServiceRequest.FromString(request.body)
            mask(spans)
            request.prepare_body(spans.SerializeToString(), None)
            return super().send(request, **kwargs)

    def mask(message: Any) -> None:
        for field, value in message.ListFields():
            if field.type == field.TYPE_STRING:
                setattr(message, field.name, masked(value))
            elif field.type == field.TYPE_MESSAGE:
                for part in [value] if hasattr(value, "ListFields") else value:
                    mask(part)

    # A process that ends sends its last spans first, and waits this long at most for each batch of them.
    os.environ.setdefault("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
    provider = TracerProvider()
    exporter = OTLPSpanExporter(session=Session(), compression=Compression.NoCompression)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    DjangoInstrumentor().instrument(
        # Behind the middleware that answers Prometheus, which calls a pod by a name that Django would refuse.
        middleware_position=1,
        excluded_urls="healthz,readyz",
        request_hook=lambda span, _request: span.set_attribute("request_id", request_id.get()),
    )
    CeleryInstrumentor().instrument()


def step(name: str) -> Callable[[Any], Any]:
    """Gives a function a span of its own. Where nothing is traced it stays as it is."""
    if not settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        return lambda function: function
    from opentelemetry import trace

    return trace.get_tracer("payouts").start_as_current_span(name)


def report_errors(dsn: str) -> None:
    import sentry_sdk

    # A request's body and a traceback's variables are what a payout is made of.
    unsaid: Any = {"max_request_body_size": "never", "include_local_variables": False}
    sentry_sdk.init(dsn, before_send=lambda event, _hint: masked(event), **unsaid)
