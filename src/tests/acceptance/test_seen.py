"""What the people who run it see: the log, the metrics, the heartbeat, the smoke test."""

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
over_rabbitmq = pytest.mark.skipif(not BROKER_URL.startswith("amqp"), reason="CELERY_BROKER_URL names no RabbitMQ")
over_a_broker = pytest.mark.skipif(IN_FILES, reason="replies come over a broker, and CELERY_BROKER_URL names none")


def metrics(base):
    lines = call("GET", f"{base}/metrics").body.decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_every_line_is_one_json_object_and_tells_no_secret(own_service):
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
    # The thread's last payout is not to blame.
    wait_until(lambda: own_service.log_lines(logger="celery.app.trace", request_id="-"))
    wait_until(lambda: len(own_service.log_lines(logger="payouts.tasks")) >= 3)
    seen = [call("GET", f"{base}/metrics").body.decode() for base in (own_service.base, f"http://127.0.0.1:{port}")]
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
    # What is wrong with a request, its answer tells.
    assert not own_service.log_lines(logger="django.request", level="WARNING")
    for secret in (CARD, *SECRETS.values(), own_service.environment.get("DB_PASSWORD") or CARD):
        assert not [text for text in (*lines, *seen) if secret in text]


def test_a_person_reads_text(own_service):
    own_service.start_api(LOG_FORMAT="text")
    call("GET", f"{own_service.base}/healthz/", **{"X-Request-ID": "mine"})
    line = wait_until(lambda: [line for line in own_service.output().splitlines() if "[mine]" in line])[0]
    end = r'method="GET" path="/healthz/" client="127.0.0.1" status=200 bytes=16 duration=0.\d+'
    assert re.fullmatch(rf"\S+ INFO access \[mine\] request {end}", line)


def test_what_gunicorn_refuses_has_nobody_s_request_id(own_service):
    own_service.start_api(WEB_CONCURRENCY="1", API_THREADS="1")
    call("GET", f"{own_service.base}/healthz/", **{"X-Request-ID": "another"})
    with socket.create_connection(("127.0.0.1", own_service.port)) as broken:
        broken.sendall(b"GET / HTTP/1.1\r\nbro ken: 1\r\n\r\n")
        assert broken.recv(100).startswith(b"HTTP/1.1 400")
    wait_until(lambda: own_service.log_lines(level="WARNING", request_id="-"))
    assert len(own_service.log_lines(request_id="another")) == 1


def test_all_processes_of_the_api_count_together(own_service):
    api = own_service.start_api(WEB_CONCURRENCY="3")
    made = '{method="POST",route="api/v1/payouts/",status="400"}'
    with ThreadPoolExecutor(8) as clients:
        list(clients.map(lambda _: call("POST", own_service.payouts, {"amount": "0"}), range(60)))
    children = Path(f"/proc/{api.pid}/task/{api.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    for _ in range(12):
        seen = wait_until(lambda: metrics(own_service.base))
        assert seen[f"http_request_duration_seconds_count{made}"] == 60


def test_metrics_follow_payouts(own_service):
    own_service.environment |= {"PAYOUT_RECOVERY_INTERVAL": "1"}
    own_service.start_api(CELERY_BROKER_URL=NO_BROKER)
    own_service.post(recipient_details={"number": UNKNOWN_NUMBER})
    own_service.post()
    seen = metrics(own_service.base)
    assert seen['payouts_in_flight{status="NEW"}'] == seen["payouts_bell_failures_total"] == 2
    assert seen['payouts_oldest_seconds{status="NEW"}'] > 0
    port = free_port()
    own_service.start_worker(METRICS_PORT=str(port))
    wait_until(lambda: own_service.log_lines(outcome="paid") and own_service.log_lines(attempt=2, outcome="unknown"))
    seen = metrics(own_service.base)
    assert (seen['payouts_in_flight{status="NEW"}'], seen['payouts_in_flight{status="PROCESSING"}']) == (0, 1)
    seen = metrics(f"http://127.0.0.1:{port}")
    assert seen['payouts_recovered_total{was="NEW"}'] == 2
    assert seen['payouts_attempts_total{outcome="paid"}'] == 1
    assert seen['payouts_attempts_total{outcome="unknown"}'] >= 1


def test_the_heart_beats_without_a_broker_and_a_database_and_stops_in_a_wedged_worker(own_service, tmp_path):
    heartbeat = tmp_path / "heartbeat"
    hasty = {"PAYOUT_RECOVERY_INTERVAL": "0.5", "PAYOUT_GATEWAY_TIMEOUT": "1"}
    worker = own_service.start_worker(CELERY_BROKER_URL=NO_BROKER, TMPDIR=str(tmp_path), **hasty)
    wait_until(heartbeat.exists)

    def beats():
        since = heartbeat.stat().st_mtime_ns
        wait_until(lambda: heartbeat.stat().st_mtime_ns > since, 15)

    beats()
    own_service.database.refuse()
    wait_until(lambda: own_service.log_lines(logger="payouts.recovery", level="WARNING"))
    beats()
    beats()
    # Not one for each thread and each look.
    told = Counter(line["message"] for line in own_service.log_lines(logger="payouts.recovery", level="WARNING"))
    assert max(told.values()) < 4
    os.killpg(worker.pid, signal.SIGSTOP)
    os.waitpid(worker.pid, os.WUNTRACED)
    frozen = heartbeat.stat().st_mtime_ns
    time.sleep(2)
    assert heartbeat.stat().st_mtime_ns == frozen


def test_the_heart_beats_between_looks_that_are_far_apart(own_service, tmp_path):
    own_service.start_worker(PAYOUT_RECOVERY_INTERVAL="3600", TMPDIR=str(tmp_path))
    heartbeat = tmp_path / "heartbeat"
    wait_until(heartbeat.exists)
    first = heartbeat.stat().st_mtime_ns
    wait_until(lambda: heartbeat.stat().st_mtime_ns > first, 15)


@over_a_broker
def test_a_worker_answers_the_smoke_test(service):
    wait_until(lambda: " ready." in service.output())
    done = service.manage("check_worker")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"celery@\S+ answered after 0\.\d+ s\n", done.stdout)


@over_a_broker
def test_without_a_worker_the_smoke_test_fails(own_service):
    done = own_service.manage("check_worker", "--timeout", "1")
    assert (done.returncode, done.stderr) == (1, "CommandError: No worker has answered: The operation timed out.\n")


@pytest.mark.parametrize(
    "url",
    [
        NO_BROKER,
        "a black hole",
        pytest.param(re.sub(":[^:]*@", ":wrong@", BROKER_URL), marks=over_rabbitmq),
        pytest.param(f"{BROKER_URL}none", marks=over_rabbitmq),
    ],
)
def test_without_a_broker_the_smoke_test_fails_in_time(own_service, silent_broker, url):
    url = silent_broker if url == "a black hole" else url
    done = own_service.manage("check_worker", "--timeout", "3", CELERY_BROKER_URL=url)
    assert done.returncode == 1
    assert done.stderr.startswith("CommandError: No worker has answered: ")
    assert done.stderr.count("\n") == 1


def test_stuck_payouts_are_listed_and_failed_ones_tried_again(service):
    payout = service.wait_for(service.post(recipient_details={"number": REFUSED_NUMBER}), "FAILED")
    done = service.manage("payouts", "retry", payout["id"])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    wait_until(lambda: service.log_lines(payout=payout["id"], outcome="refused", attempt=2))
    changes = call("GET", f"{service.payouts}{payout['id']}/history/").json()["results"]
    [by] = [change["changed_by"] for change in changes if change["changes"].get("status") == "NEW"][1:]
    user, request_id = re.fullmatch(r"command payouts retry, user (\w+), (\w+)", by).groups()
    assert user
    assert {line["attempt"] for line in service.log_lines(request_id=request_id)} == {2}
