"""An accepted payout is paid once, whatever fails: the broker, PostgreSQL or a client."""

import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress

import pytest

from payouts.gateways.sandbox import REFUSED_NUMBER
from tests.acceptance.service import IN_FILES, NO_BROKER, SHORT_TIMES, OwnPostgres, Service, call, wait_until
from tests.acceptance.wire import Wire
from tests.servers import BROKER_URL, scratch

BREAK_THE_UPDATE = """
CREATE FUNCTION break_the_update() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.comment = 'UPDATE' THEN PERFORM 1 / 0; END IF; RETURN NEW;
END $$;
CREATE TRIGGER break_the_update BEFORE UPDATE ON payouts_payout FOR EACH ROW EXECUTE FUNCTION break_the_update()
"""


@pytest.fixture
def quick_service(own_service, gateway):
    """With short leases and the reference gateway."""
    own_service.environment |= {**SHORT_TIMES, "PAYOUT_GATEWAY": "http", **gateway.environment()}
    return own_service


@pytest.mark.skipif(IN_FILES, reason="CELERY_BROKER_URL names no broker")
def test_the_api_announces_payouts_after_the_broker_hung_up(own_service):
    own_service.environment["PAYOUT_RECOVERY_INTERVAL"] = "3600"
    own_service.start_worker()
    with closing(Wire()) as wire:
        own_service.start_api(CELERY_BROKER_URL=wire.url, WEB_CONCURRENCY="1")
        own_service.wait_for(own_service.post(), "COMPLETED")
        wire.cut()
        for payout in [own_service.post() for _ in range(8)]:
            own_service.wait_for(payout, "COMPLETED")


@pytest.mark.skipif(IN_FILES, reason="CELERY_BROKER_URL names no broker")
def test_a_worker_gets_messages_after_the_broker_hung_up(own_service):
    own_service.environment["PAYOUT_RECOVERY_INTERVAL"] = "3600"
    own_service.start_api()
    with closing(Wire()) as wire:
        own_service.start_worker(CELERY_BROKER_URL=wire.url, SANDBOX_DELAY="0.5")
        for _cut in range(4):
            payouts = [own_service.post() for _ in range(12)]
            wait_until(lambda payouts=payouts: "PROCESSING" in own_service.statuses(payouts))
            wire.cut()
            wait_until(lambda payouts=payouts: own_service.statuses(payouts) == {"COMPLETED": 12})


@pytest.mark.skipif(not BROKER_URL.startswith("amqp"), reason="CELERY_BROKER_URL names no RabbitMQ")
def test_worker_and_api_notice_that_nothing_comes_through(own_service):
    own_service.environment["PAYOUT_RECOVERY_INTERVAL"] = "3600"
    with closing(Wire()) as wire:
        own_service.environment["CELERY_BROKER_URL"] = wire.url
        own_service.start_api(WEB_CONCURRENCY="1")
        own_service.start_worker()
        own_service.wait_for(own_service.post(), "COMPLETED")
        wire.is_open.clear()
        wait_until(lambda: "Too many heartbeats missed" in own_service.output())
        wait_until(lambda: own_service.post() and own_service.log_lines(logger="payouts.bell"))
        wire.is_open.set()
        wait_until(lambda: own_service.get(own_service.post())["status"] == "COMPLETED")


@pytest.mark.skipif(IN_FILES, reason="CELERY_BROKER_URL names no broker")
def test_a_terminated_worker_stops_although_its_broker_is_silent(own_service):
    own_service.environment["PAYOUT_RECOVERY_INTERVAL"] = "0.5"
    own_service.start_api(CELERY_BROKER_URL=NO_BROKER)
    with closing(Wire()) as wire:
        worker = own_service.start_worker(CELERY_BROKER_URL=wire.url)
        own_service.wait_for(own_service.post(), "COMPLETED")
        wire.is_open.clear()
        worker.terminate()
        time.sleep(0.5)
        late = own_service.post()
        assert worker.wait(60) == 0
    assert own_service.get(late)["status"] == "NEW"


def test_a_worker_refuses_a_broker_whose_certificate_has_another_name(own_service, certificate):
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
        port = listener.getsockname()[1]
        url = {"CELERY_BROKER_URL": f"amqps://localhost:{port}//", "SSL_CERT_FILE": str(certificate)}
        own_service.start_worker(**url)
        connection, _address = listener.accept()
        with suppress(ssl.SSLError):
            # A worker that accepts any name would go on, and wait for AMQP.
            stack.enter_context(tls.wrap_socket(connection, server_side=True))
        wait_until(lambda: "Hostname mismatch" in own_service.output())


def test_api_and_workers_go_on_after_postgresql_hung_up(own_service):
    own_service.environment |= {"PAYOUT_RECOVERY_INTERVAL": "3600", "SANDBOX_DELAY": "0.1"}
    own_service.start_api()
    own_service.start_worker()
    # Eight payouts are enough to reach each of a worker's four threads.
    for _before_and_after in range(2):
        for payout in [own_service.post() for _ in range(8)]:
            own_service.wait_for(payout, "COMPLETED")
        own_service.database.hang_up()


@pytest.mark.parametrize("broker", [{"PAYOUT_RECOVERY_INTERVAL": "3600"}, {"CELERY_BROKER_URL": NO_BROKER}])
def test_an_outcome_is_written_although_postgresql_hung_up_during_the_call(own_service, broker):
    own_service.environment |= {"PAYOUT_RECOVERY_INTERVAL": "1", **broker}
    own_service.start_api()
    own_service.start_worker(SANDBOX_DELAY="1")
    payout = own_service.post()
    own_service.wait_for(payout, "PROCESSING")
    own_service.database.hang_up()
    assert own_service.wait_for(payout, "COMPLETED")["attempt"] == 1


def test_each_thread_keeps_its_connection(own_service):
    own_service.start_api(WEB_CONCURRENCY="1", API_THREADS="1")
    own_service.start_worker(CELERY_CONCURRENCY="1", PAYOUT_RECOVERY_INTERVAL="3600")
    query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    own_service.wait_for(own_service.post(), "COMPLETED")
    first = own_service.database.rows(query)
    own_service.wait_for(own_service.post(), "COMPLETED")
    # Meanwhile the threads of recovery may have connected, too.
    assert set(first) <= set(own_service.database.rows(query))
    assert len(first) >= 2


def test_clients_that_stall_in_a_request_keep_no_thread(own_service):
    own_service.start_api(WEB_CONCURRENCY="1", API_THREADS="2")
    half_of_headers = b"POST /api/v1/payouts/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    half_of_body = half_of_headers + b"Content-Length: 99\r\n\r\n{"
    half_of_long_body = half_of_headers + b"Content-Length: 99999\r\n\r\n" + b" " * 70_000
    with ExitStack() as stack:
        clients = []
        for data in (half_of_headers, half_of_body, half_of_long_body):
            clients.append(stack.enter_context(socket.create_connection(("127.0.0.1", own_service.port))))
            clients[-1].sendall(data)
        assert call("GET", f"{own_service.base}/healthz/").status == 200
        assert [client.recv(99)[9:12] for client in clients] == [b"", b"400", b"413"]


@pytest.mark.parametrize("broker", ["refuses", "is silent"])
def test_payouts_are_accepted_and_paid_without_a_broker(quick_service, gateway, silent_broker, broker):
    quick_service.environment["CELERY_BROKER_URL"] = NO_BROKER if broker == "refuses" else silent_broker
    quick_service.start_api()
    quick_service.start_worker()
    with ThreadPoolExecutor(8) as clients:
        payouts = list(clients.map(lambda _: quick_service.post(), range(80)))
    wait_until(lambda: quick_service.statuses(payouts) == {"COMPLETED": 80})
    assert quick_service.payments(gateway, payouts) == [1] * 80


def test_recovery_goes_on_after_a_payout_that_cannot_be_claimed(quick_service):
    quick_service.environment["CELERY_BROKER_URL"] = NO_BROKER
    with quick_service.database.connect() as connection:
        connection.execute(BREAK_THE_UPDATE)
        quick_service.start_api()
        *_, payout = [quick_service.post(comment=comment) for comment in ("", "", "", "", "UPDATE")]
        quick_service.start_worker()
        # Each thread of recovery has tried it. None still has the request id of the payout before.
        wait_until(lambda: len(quick_service.log_lines(message="recovery goes on after this", request_id="-")) > 8)
        assert not [line for line in quick_service.log_lines(level="ERROR") if line["request_id"] != "-"]
        connection.execute("DROP TRIGGER break_the_update ON payouts_payout")
    quick_service.wait_for(payout, "COMPLETED")


def test_a_read_only_postgresql_causes_503_until_it_writes_again(own_service):
    request = {"amount": "1", "currency": "EUR", "recipient_details": {"a": 1}}
    warning = "waits for the database: cannot execute UPDATE"
    own_service.environment |= {**SHORT_TIMES, "WEB_CONCURRENCY": "1", "CELERY_BROKER_URL": NO_BROKER}
    own_service.start_api()
    own_service.start_worker()
    payout = own_service.wait_for(own_service.post(), "COMPLETED")
    own_service.database.set("default_transaction_read_only = on")
    own_service.database.hang_up()
    assert own_service.get(payout) == payout
    assert call("POST", own_service.payouts, request).status == 503
    assert "the database is not available: cannot execute INSERT" in own_service.output()
    wait_until(lambda: warning in own_service.output())
    assert "recovery goes on after this" not in own_service.output()
    # Only new connections can write, as after a failover. The old ones stay with the old server.
    own_service.database.set("default_transaction_read_only = off")
    wait_until(lambda: call("POST", own_service.payouts, request).status == 201)
    wait_until(lambda: own_service.database.rows("SELECT FROM payouts_payout WHERE status = 'NEW'") == [])


def test_a_worker_leaves_a_read_only_postgresql(own_service):
    # So rarely that only messages bring payouts.
    own_service.environment["PAYOUT_RECOVERY_INTERVAL"] = "600"
    own_service.start_api()
    own_service.start_worker()
    payout = own_service.wait_for(own_service.post(), "COMPLETED")
    own_service.database.set("default_transaction_read_only = on")
    own_service.database.hang_up()
    own_service.ring(*[payout["id"]] * 8)
    wait_until(lambda: "waits for the database: cannot execute UPDATE" in own_service.output())
    own_service.database.set("default_transaction_read_only = off")
    wait_until(lambda: own_service.get(payout))
    for _connection in range(8):
        own_service.wait_for(own_service.post(), "COMPLETED")
    assert "Traceback" not in own_service.output()


@pytest.fixture(scope="module")
def stoppable_service():
    """On a PostgreSQL of its own. If no commit waits for the disk, it writes its log once in ten seconds."""
    postgres = OwnPostgres(scratch / "own-postgres", "-c", "wal_writer_delay=10s", "-c", "autovacuum=off")
    service = Service(postgres)
    service.environment |= SHORT_TIMES
    try:
        service.migrate()
        service.start_api(WEB_CONCURRENCY="1", API_THREADS="2")
        service.start_worker()
        yield service
    finally:
        service.close()
        postgres.stop()


def test_an_outage_of_postgresql_causes_503_until_it_is_back(stoppable_service):
    payout = stoppable_service.wait_for(stoppable_service.post(), "COMPLETED")
    stoppable_service.database.stop()
    body = {"amount": "1", "currency": "EUR", "recipient_details": {"a": 1}}
    for request in (("GET", f"{stoppable_service.payouts}{payout['id']}/"), ("POST", stoppable_service.payouts, body)):
        answer = call(*request)
        assert (answer.status, answer.headers["Content-Type"]) == (503, "application/json")
        assert answer.headers["Retry-After"] == "5"
    assert call("GET", f"{stoppable_service.base}/readyz/").status == 503
    assert call("GET", f"{stoppable_service.base}/healthz/").status == 200
    stoppable_service.database.start()
    wait_until(stoppable_service.is_ready)
    assert stoppable_service.get(payout) == payout
    stoppable_service.wait_for(stoppable_service.post(), "COMPLETED")


@pytest.mark.parametrize(("number", "status", "attempts"), [("4111", "COMPLETED", 2), (REFUSED_NUMBER, "FAILED", 1)])
def test_a_crash_of_postgresql_takes_back_a_payment_and_no_refusal(stoppable_service, number, status, attempts):
    payout = stoppable_service.wait_for(stoppable_service.post(recipient_details={"number": number}), status)
    assert payout["attempt"] == 1
    stoppable_service.database.crash()
    stoppable_service.database.start()
    wait_until(stoppable_service.is_ready)
    assert stoppable_service.wait_for(payout, status)["attempt"] == attempts


def test_a_frozen_postgresql_leaves_one_thread_for_the_health_check(stoppable_service):
    paths = [f"/api/v1/payouts/{stoppable_service.post()['id']}/"] * 8

    def status(path):
        return call("GET", f"{stoppable_service.base}{path}").status

    with ThreadPoolExecutor(8) as clients:
        # From now on each thread has its connection.
        assert set(clients.map(status, paths)) == {200}
        with stoppable_service.database.frozen():
            calls = [clients.submit(status, path) for path in ("/readyz/", "/metrics") * 4]
            wait_until(lambda: sum(each.done() for each in calls) == len(calls) - 1)
            assert status("/healthz/") == 200
    assert status("/readyz/") == 200
