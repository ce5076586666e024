"""What operators see of the service: the log, the metrics, the heartbeat and the smoke test."""

import os
import re
import signal
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from payouts.gateways.sandbox import REFUSED_NUMBER, UNKNOWN_NUMBER
from tests.acceptance.service import IN_FILES, NO_BROKER, QUOTE_THE_CARD, call, wait_until
from tests.local import free_port
from tests.servers import BROKER_URL

CARD = "5105105105105100"
SECRETS = {"SECRET_KEY": "kept-from-everybody", "PAYOUT_GATEWAY_TOKEN": "known-to-the-gateway"}
needs_rabbitmq = pytest.mark.skipif(not BROKER_URL.startswith("amqp"), reason="CELERY_BROKER_URL names no RabbitMQ")
needs_broker = pytest.mark.skipif(IN_FILES, reason="CELERY_BROKER_URL names no broker, which a reply needs")


def read_metrics(base):
    lines = call("GET", f"{base}/metrics").body.decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_each_line_of_the_log_is_json_and_shows_no_secret(own_service):
    own_service.environment |= SECRETS
    with own_service.database.connect() as connection:
        connection.execute(QUOTE_THE_CARD)
    port = free_port()
    api, worker = own_service.start_api(), own_service.start_worker(METRICS_PORT=str(port), CELERY_CONCURRENCY="1")
    for number in (CARD, REFUSED_NUMBER, UNKNOWN_NUMBER):
        own_service.post(recipient_details={"number": number}, comment=CARD)
    call("POST", own_service.payouts, {"amount": "x", "recipient_details": {"number": CARD}})
    call("GET", f"{own_service.payouts}?search={CARD}")
    for operation, status in (("INSERT", 500), ("UPDATE", 201)):
        failing = {"amount": "1", "currency": "USD", "recipient_details": {"number": CARD}, "comment": operation}
        assert call("POST", own_service.payouts, failing).status == status
    # Celery's own line must not name the payout that this thread paid before.
    wait_until(lambda: own_service.log_lines(logger="celery.app.trace", request_id="-"))
    wait_until(lambda: len(own_service.log_lines(logger="payouts.tasks")) >= 3)
    metrics = [call("GET", f"{base}/metrics").body.decode() for base in (own_service.base, f"http://127.0.0.1:{port}")]
    assert [own_service.stop(process) for process in (api, worker)] == [0, 0]
    lines = own_service.output().splitlines()
    assert len(own_service.log_lines()) == len(lines)
    common = {"time", "level", "logger", "request_id", "message"}
    assert all(common <= line.keys() for line in own_service.log_lines())
    assert {line["logger"].split(".")[0] for line in own_service.log_lines()} == {
        "access",
        "gunicorn",
        "django",
        "celery",
        "payouts",
    }
    # The answer already tells the caller what is wrong with a request.
    assert not own_service.log_lines(logger="django.request", level="WARNING")
    for secret in (CARD, *SECRETS.values(), own_service.environment.get("DB_PASSWORD") or CARD):
        assert not [text for text in (*lines, *metrics) if secret in text]


def test_the_log_can_be_text(own_service):
    own_service.start_api(LOG_FORMAT="text")
    call("GET", f"{own_service.base}/healthz/", **{"X-Request-ID": "mine"})
    line = wait_until(lambda: [line for line in own_service.output().splitlines() if "[mine]" in line])[0]
    end = r'method="GET" path="/healthz/" client="127.0.0.1" status=200 bytes=16 duration=0.\d+'
    assert re.fullmatch(rf"\S+ INFO access \[mine\] request {end}", line)


def test_a_request_that_gunicorn_refuses_has_no_request_id(own_service):
    own_service.start_api(WEB_CONCURRENCY="1", API_THREADS="1")
    call("GET", f"{own_service.base}/healthz/", **{"X-Request-ID": "another"})
    with socket.create_connection(("127.0.0.1", own_service.port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nbro ken: 1\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 400")
    wait_until(lambda: own_service.log_lines(level="WARNING", request_id="-"))
    assert len(own_service.log_lines(request_id="another")) == 1


def test_all_processes_of_the_api_count_together(own_service):
    api = own_service.start_api(WEB_CONCURRENCY="3")
    labels = '{method="POST",route="api/v1/payouts/",status="400"}'
    with ThreadPoolExecutor(8) as clients:
        list(clients.map(lambda _: call("POST", own_service.payouts, {"amount": "0"}), range(60)))
    children = Path(f"/proc/{api.pid}/task/{api.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    for _ in range(12):
        samples = wait_until(lambda: read_metrics(own_service.base))
        assert samples[f"http_request_duration_seconds_count{labels}"] == 60


def test_the_metrics_follow_the_payouts(own_service):
    own_service.environment |= {"PAYOUT_RECOVERY_INTERVAL": "1"}
    own_service.start_api(CELERY_BROKER_URL=NO_BROKER)
    own_service.post(recipient_details={"number": UNKNOWN_NUMBER})
    own_service.post()
    api = read_metrics(own_service.base)
    assert api['payouts_in_flight{status="NEW"}'] == api["payouts_bell_failures_total"] == 2
    assert api['payouts_oldest_seconds{status="NEW"}'] > 0
    port = free_port()
    own_service.start_worker(METRICS_PORT=str(port))
    wait_until(lambda: own_service.log_lines(outcome="paid") and own_service.log_lines(attempt=2, outcome="unknown"))
    api = read_metrics(own_service.base)
    assert (api['payouts_in_flight{status="NEW"}'], api['payouts_in_flight{status="PROCESSING"}']) == (0, 1)
    worker = read_metrics(f"http://127.0.0.1:{port}")
    assert worker['payouts_recovered_total{was="NEW"}'] == 2
    assert worker['payouts_attempts_total{gateway="sandbox",outcome="paid"}'] == 1
    assert worker['payouts_attempts_total{gateway="sandbox",outcome="unknown"}'] >= 1


def test_the_heartbeat_needs_no_broker_and_no_database_and_stops_with_a_frozen_worker(own_service, tmp_path):
    heartbeat = tmp_path / "heartbeat"
    times = {"PAYOUT_RECOVERY_INTERVAL": "0.5", "PAYOUT_GATEWAY_TIMEOUT": "1"}
    worker = own_service.start_worker(CELERY_BROKER_URL=NO_BROKER, TMPDIR=str(tmp_path), **times)
    wait_until(heartbeat.exists)

    def wait_for_a_beat():
        before = heartbeat.stat().st_mtime_ns
        wait_until(lambda: heartbeat.stat().st_mtime_ns > before, 15)

    wait_for_a_beat()
    own_service.database.refuse_connections()
    wait_until(lambda: own_service.log_lines(logger="runtime.database", level="WARNING"))
    wait_for_a_beat()
    wait_for_a_beat()
    # One warning a minute, and not one for each thread and each pass.
    counts = Counter(line["message"] for line in own_service.log_lines(logger="runtime.database", level="WARNING"))
    assert max(counts.values()) < 4
    os.killpg(worker.pid, signal.SIGSTOP)
    os.waitpid(worker.pid, os.WUNTRACED)
    frozen = heartbeat.stat().st_mtime_ns
    time.sleep(2)
    assert heartbeat.stat().st_mtime_ns == frozen


def test_the_heartbeat_is_fresh_however_long_the_interval_of_recovery_is(own_service, tmp_path):
    own_service.start_worker(PAYOUT_RECOVERY_INTERVAL="3600", TMPDIR=str(tmp_path))
    heartbeat = tmp_path / "heartbeat"
    wait_until(heartbeat.exists)
    first = heartbeat.stat().st_mtime_ns
    wait_until(lambda: heartbeat.stat().st_mtime_ns > first, 15)


@needs_broker
def test_a_worker_answers_the_smoke_test(service):
    wait_until(lambda: " ready." in service.output())
    run = service.manage("check_worker")
    assert run.returncode == 0, run.stderr
    assert re.fullmatch(r"celery@\S+ answered after 0\.\d+ s\n", run.stdout)


@needs_broker
def test_the_smoke_test_fails_without_a_worker(own_service):
    run = own_service.manage("check_worker", "--timeout", "1")
    assert (run.returncode, run.stderr) == (1, "CommandError: No worker has answered: The operation timed out.\n")


@pytest.mark.parametrize(
    "url",
    [
        NO_BROKER,
        "silent",
        pytest.param(re.sub(":[^:]*@", ":wrong@", BROKER_URL), marks=needs_rabbitmq),
        pytest.param(f"{BROKER_URL}none", marks=needs_rabbitmq),
    ],
)
def test_the_smoke_test_fails_soon_without_a_broker(own_service, silent_broker, url):
    url = silent_broker if url == "silent" else url
    run = own_service.manage("check_worker", "--timeout", "3", CELERY_BROKER_URL=url)
    assert run.returncode == 1
    assert run.stderr.startswith("CommandError: No worker has answered: ")
    assert run.stderr.count("\n") == 1


def test_a_command_retries_a_failed_payout(service):
    payout = service.wait_for(service.post(recipient_details={"number": REFUSED_NUMBER}), "FAILED")
    run = service.manage("payouts", "retry", payout["id"])
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    wait_until(lambda: service.log_lines(payout=payout["id"], outcome="refused", attempt=2))
    changes = call("GET", f"{service.payouts}{payout['id']}/history/").json()["results"]
    [by] = [change["changed_by"] for change in changes if change["changes"].get("status") == "NEW"][1:]
    user, request_id = re.fullmatch(r"command payouts retry, user (\w+), (\w+)", by).groups()
    assert user
    assert {line["attempt"] for line in service.log_lines(request_id=request_id)} == {2}
