"""Traces and errors. Without its setting, neither is even imported. Neither is told a card number."""

import os
from collections.abc import Callable
from typing import Any

from django.conf import settings

from runtime.cards import mask
from runtime.context import request_id
from runtime.start import stop_if_unusable

# At its end a process sends its last spans, and waits this long at most for each batch.
EXPORT_TIMEOUT = 2
OWN_TIMEOUTS = {"OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"}


def start() -> None:
    if settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        with stop_if_unusable("OTEL_EXPORTER_OTLP_ENDPOINT"):
            trace_requests()
    if settings.SENTRY_DSN:
        with stop_if_unusable("SENTRY_DSN"):
            report_errors()


def trace_requests() -> None:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.celery import CeleryInstrumentor
    from opentelemetry.instrumentation.django import DjangoInstrumentor
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # Without a name of ours, as in a command, OpenTelemetry finds one itself.
    name = {SERVICE_NAME: settings.OTEL_SERVICE_NAME} if settings.OTEL_SERVICE_NAME else {}
    provider = TracerProvider(resource=Resource.create(name))
    exporter = OTLPSpanExporter(
        session=masking_session(),
        # The session reads the spans, so they come to it uncompressed.
        compression=Compression.NoCompression,
        # With None, OpenTelemetry reads its own variables.
        timeout=None if OWN_TIMEOUTS & os.environ.keys() else EXPORT_TIMEOUT,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    DjangoInstrumentor().instrument(
        # Second, after the middleware that answers Prometheus: Prometheus names a host that Django would refuse.
        middleware_position=1,
        excluded_urls="healthz,readyz",
        request_hook=lambda span, _request: span.set_attribute("request_id", request_id.get()),
    )
    CeleryInstrumentor().instrument()


def masking_session() -> Any:
    """A session that masks card numbers in all spans before it sends them."""
    import requests
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    class MaskingSession(requests.Session):
        def send(self, request: Any, **kwargs: Any) -> requests.Response:
            spans = ExportTraceServiceRequest.FromString(request.body)
            mask_message(spans)
            request.prepare_body(spans.SerializeToString(), None)
            return super().send(request, **kwargs)

    return MaskingSession()


def mask_message(message: Any) -> None:
    """Masks each text of a protobuf message, in place."""
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING:
            setattr(message, field.name, mask(value))
        elif field.type == field.TYPE_MESSAGE:
            for part in [value] if hasattr(value, "ListFields") else value:
                mask_message(part)


def report_errors() -> None:
    import sentry_sdk

    sentry_sdk.init(
        settings.SENTRY_DSN,
        before_send=lambda event, _hint: mask(event),
        # A request's body and a traceback's variables contain what a payout is made of.
        max_request_body_size="never",
        include_local_variables=False,
    )


def step(name: str) -> Callable[[Any], Any]:
    """Gives a function a span of its own. Without tracing the function stays as it is."""
    if not settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        return lambda function: function
    from opentelemetry import trace

    return trace.get_tracer("payouts").start_as_current_span(name)
