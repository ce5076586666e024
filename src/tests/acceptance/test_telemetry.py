"""Traces and errors, as a collector receives them from the entry points."""

import gzip
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.acceptance.service import QUOTE_THE_CARD, call, deployment, wait_until

CARD = "5105105105105100"
CARD_GROUPS = ("5105", "1051", "0510", "5100")


def text_of(attributes):
    return {attribute.key: attribute.value.string_value for attribute in attributes}


class Collector(ThreadingHTTPServer):
    """Keeps what it receives. It stands for OpenTelemetry's collector and for Sentry."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies = []
        self.settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.server_port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "SENTRY_DSN": f"http://key@127.0.0.1:{self.server_port}/1",
        }
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def traces(self):
        """The service and the attributes of each span, by the names of its ancestors and its own."""
        requests = [ExportTraceServiceRequest.FromString(body) for url, body in self.bodies if url == "/v1/traces"]
        groups = [group for request in requests for group in request.resource_spans]
        services = {id(group): text_of(group.resource.attributes)["service.name"] for group in groups}
        spans = [(span, services[id(group)]) for group in groups for scope in group.scope_spans for span in scope.spans]
        by_id = {span.span_id: span for span, _ in spans}

        def path(span):
            return (*(path(by_id[span.parent_span_id]) if span.parent_span_id in by_id else ()), span.name)

        return {path(span): (service, text_of(span.attributes)) for span, service in spans}

    def errors(self):
        return [body for url, body in self.bodies if url == "/api/1/envelope/" and b'"type":"event"' in body]


class Handler(BaseHTTPRequestHandler):
    server: Collector

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        body = gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body
        self.server.bodies.append((self.path, body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture(scope="module")
def collector():
    with Collector() as collector:
        yield collector
        collector.shutdown()


@pytest.fixture(scope="module")
def traced_service(migrated_database, collector):
    with deployment(migrated_database, **collector.settings) as service:
        service.start_api()
        service.start_worker()
        yield service


def test_one_trace_leads_from_the_post_to_the_gateway(traced_service, collector):
    request = {"amount": "1", "currency": "USD", "recipient_details": {"number": CARD}}
    query = (
        f"search={CARD}&search={'+'.join(CARD_GROUPS)}&search={'%20'.join(CARD_GROUPS)}&search={'-'.join(CARD_GROUPS)}"
    )
    # 48 bytes long: protobuf writes this length as the character 0, directly before the digits of the text.
    agent = "20261128012233 payroll".ljust(48, ".")
    assert call("GET", f"{traced_service.payouts}?{query}", **{"User-Agent": agent}).status == 200
    call("POST", traced_service.payouts, request, **{"X-Request-ID": "traced", "User-Agent": agent})
    path = ("POST api/v1/payouts/", "apply_async/payouts.process", "run/payouts.process", "gateway")
    wait_until(lambda: path in collector.traces())
    service, attributes = collector.traces()[path[:1]]
    assert (service, attributes["request_id"]) == ("payouts-api", "traced")
    assert collector.traces()[path][0] == "payouts-worker"
    # The fixture has called /readyz/ until the API was ready.
    assert not [names for names in collector.traces() if "readyz" in names[0]]
    assert call("GET", f"{traced_service.base}/metrics", Host="10.0.0.7").status == 200
    assert not [body for _path, body in collector.bodies if CARD.encode() in body or CARD_GROUPS[0].encode() in body]


def test_errors_are_reported_without_card_numbers(traced_service, collector):
    with traced_service.database.connect() as connection:
        connection.execute(QUOTE_THE_CARD)
    failing = {"amount": "1", "currency": "USD", "recipient_details": {"number": CARD, "integer": int(CARD)}}
    for operation in ("INSERT", "UPDATE"):
        call(
            "POST",
            traced_service.payouts,
            failing | {"comment": operation},
            Authorization="Bearer known",
            Referer=f"https://shop.example.com/?number={'+'.join(CARD_GROUPS)}",
        )
    of_api, of_worker = wait_until(lambda: len(errors := collector.errors()) == 2 and errors)
    assert b"/api/v1/payouts/" in of_api
    assert b"payouts.process" in of_worker
    for error in (of_api, of_worker):
        assert b"a bad card: " in error
        assert b"**** 5100" in error
    hidden = CARD.encode(), "+".join(CARD_GROUPS).encode(), b"Bearer known"
    assert not [text for text in hidden for _path, body in collector.bodies if text in body]


def test_without_their_settings_neither_library_is_imported(own_service):
    own_service.environment["PYTHONPROFILEIMPORTTIME"] = "1"
    own_service.start_api()
    own_service.start_worker()
    own_service.wait_for(own_service.post(), "COMPLETED")
    modules = {line.split("|")[-1].strip() for line in own_service.output().splitlines() if "|" in line}
    assert {"runtime.telemetry", "payouts.api.views", "celery.worker.loops"} <= modules
    # Redis's client itself imports other parts of OpenTelemetry.
    libraries = ("opentelemetry.exporter", "opentelemetry.instrumentation", "opentelemetry.sdk.trace", "sentry_sdk")
    assert not [name for name in modules if name.startswith(libraries)]


@pytest.mark.parametrize(
    ("setting", "value", "library"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1", "opentelemetry"),
        ("SENTRY_DSN", "http://key@127.0.0.1:1/1", "sentry_sdk"),
        ("CELERY_BROKER_URL", "redis://127.0.0.1:1/0", "redis"),
    ],
)
def test_a_setting_whose_library_is_missing_fails_a_start_with_one_line(own_service, tmp_path, setting, value, library):
    (tmp_path / f"{library}.py").write_text(f"raise ModuleNotFoundError(\"No module named '{library}'\")")
    path = os.pathsep.join([str(tmp_path), own_service.environment["PYTHONPATH"]])
    run = own_service.manage("check", PYTHONPATH=path, **{setting: value})
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == f"The setting {setting} cannot be used: No module named '{library}'\n"
