"""Hundreds of calls in flight on a few connections, and what becomes of them when PostgreSQL or the worker goes."""

import signal
import time

import pytest

from tests.acceptance.service import NO_BROKER, SHORT_TIMES, deployment, wait_until

TAKEN = "SELECT FROM payouts_payout WHERE taken_at IS NOT NULL AND due_at > now()"


@pytest.fixture(scope="module")
def api_service(migrated_database):
    with deployment(migrated_database) as service:
        service.start_api(WEB_CONCURRENCY="1", API_THREADS="8", DB_CONNECTIONS="1")
        yield service


@pytest.fixture
def calling_workers(api_service, gateway):
    """The shared API, and workers of the test that call the reference gateway."""
    service = api_service.clone()
    service.environment |= {"PAYOUT_GATEWAY": "http", **gateway.environment(can_look=True)}
    yield service
    service.kill()
    api_service.clear()


def post(service, number, **fields):
    return [service.post(**fields) for _ in range(number)]


def wait_until_taken(service, number):
    wait_until(lambda: len(service.database.rows(TAKEN)) == number, log=service.log)


def asked_once(gateway):
    return {(entry["posts"], entry["looks"]) for entry in gateway.ledger()} == {(1, 0)}


def test_a_thread_that_waits_for_the_provider_holds_no_connection(calling_workers, gateway):
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with gateway.frozen():
        calling_workers.start_worker(CELERY_CONCURRENCY="40", DB_CONNECTIONS="2")
        payouts = post(calling_workers, 40)
        wait_until_taken(calling_workers, 40)
        # Two of the worker, and one of the API.
        assert calling_workers.database.rows(count)[0][0] <= 3
    wait_until(lambda: calling_workers.statuses(payouts) == {"COMPLETED": 40}, log=calling_workers.log)
    assert asked_once(gateway)


def test_an_outcome_that_could_not_be_written_is_written_later_and_not_asked_again(calling_workers, gateway, tmp_path):
    # The lease ends before PostgreSQL is back.
    calling_workers.environment |= {**SHORT_TIMES, "PAYOUT_LEASE": "6", "PAYOUT_GATEWAY_TIMEOUT": "3"}
    calling_workers.environment["TMPDIR"] = str(tmp_path)
    with gateway.frozen():
        calling_workers.start_worker()
        payouts = post(calling_workers, 20)
        wait_until_taken(calling_workers, 20)
        calling_workers.database.refuse_connections()
    waiting = {"logger": "runtime.database", "level": "WARNING"}
    wait_until(lambda: calling_workers.log_lines(**waiting), log=calling_workers.log)
    time.sleep(9)
    # Whoever looks at it must not restart the worker.
    (tmp_path / "heartbeat").unlink()
    wait_until((tmp_path / "heartbeat").exists)
    # Once a minute, and not once a thread.
    assert len(calling_workers.log_lines(**waiting)) < 4
    calling_workers.database.accept_connections()
    wait_until(lambda: calling_workers.statuses(payouts) == {"COMPLETED": 20}, log=calling_workers.log)
    assert asked_once(gateway)
    assert {calling_workers.get(payout)["attempt"] for payout in payouts} == {1}


def test_an_outcome_whose_row_is_locked_holds_up_no_other(calling_workers, gateway):
    calling_workers.environment["PGOPTIONS"] = "-c statement_timeout=500ms"
    with gateway.frozen():
        calling_workers.start_worker()
        [locked] = post(calling_workers, 1)
        wait_until_taken(calling_workers, 1)
        other = calling_workers.database.connect()
        other.execute("BEGIN")
        other.execute("SELECT FROM payouts_payout FOR UPDATE")
    with other:
        wait_until(lambda: [entry["posts"] for entry in gateway.ledger()] == [1])
        # Longer than a statement may take.
        time.sleep(1.5)
        for payout in post(calling_workers, 5):
            calling_workers.wait_for(payout, "COMPLETED")
        assert calling_workers.get(locked)["status"] == "PROCESSING"
    assert calling_workers.wait_for(locked, "COMPLETED")["attempt"] == 1
    assert asked_once(gateway)
    assert "Traceback" not in calling_workers.output()


def test_a_terminated_worker_writes_the_outcomes_of_hundreds_of_calls(calling_workers, gateway):
    with gateway.frozen():
        worker = calling_workers.start_worker(CELERY_CONCURRENCY="200")
        payouts = post(calling_workers, 210)
        wait_until_taken(calling_workers, 200)
        worker.send_signal(signal.SIGTERM)
        wait_until(lambda: calling_workers.log_lines(message="stops"), log=calling_workers.log)
    assert worker.wait(30) == 0
    assert calling_workers.statuses(payouts) == {"COMPLETED": 200, "NEW": 10}
    assert asked_once(gateway)
    assert {calling_workers.get(payout)["attempt"] for payout in payouts} == {0, 1}


def test_a_terminated_worker_names_the_outcomes_that_it_could_not_write(calling_workers, gateway):
    with gateway.frozen():
        worker = calling_workers.start_worker(PAYOUT_GATEWAY_TIMEOUT="3")
        payouts = post(calling_workers, 5)
        wait_until_taken(calling_workers, 5)
        calling_workers.database.refuse_connections()
        worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    unwritten = "stops before the database took its outcome: the provider is asked again when its lease is over"
    lines = calling_workers.log_lines(message=unwritten, level="ERROR", outcome="paid")
    calling_workers.database.accept_connections()
    assert {line["payout"] for line in lines} == {payout["id"] for payout in payouts}
    assert {line["reference"] for line in lines} == {f"ref-{entry['key'][-12:]}" for entry in gateway.ledger()}


@pytest.mark.parametrize("broker", [{}, {"CELERY_BROKER_URL": NO_BROKER}], ids=["bells", "no broker"])
def test_what_hangs_holds_up_no_more_than_a_quarter_of_the_calls(calling_workers, gateway, broker):
    """Sent again, as this gateway cannot look."""
    calling_workers.environment |= {**gateway.environment(), "PAYOUT_RECOVERY_INTERVAL": "0.5"}
    hanging = post(calling_workers, 20, recipient_details={"mood": "hang"})
    calling_workers.purge()
    due = "UPDATE payouts_payout SET status = 'PROCESSING', attempt = 1, gateway = 'http', note = 'a doubt',"
    due += " asked_at = now(), due_at = now() RETURNING 1"
    assert len(calling_workers.database.rows(due)) == 20
    calling_workers.start_worker(CELERY_CONCURRENCY="8", **broker)
    wait_until_taken(calling_workers, 2)
    payouts = post(calling_workers, 40)
    wait_until(lambda: calling_workers.statuses(payouts) == {"COMPLETED": 40}, log=calling_workers.log)
    assert calling_workers.statuses(hanging) == {"PROCESSING": 20}
    assert len(calling_workers.database.rows(TAKEN)) == 2
