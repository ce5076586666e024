"""An accepted payout is paid, and paid once, whatever dies."""

import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from urllib.parse import urlsplit

import pytest

from payouts.gateways.sandbox import REFUSED_NUMBER
from tests.acceptance.service import HASTY, IN_FILES, NO_BROKER, Ground, Service, call, wait_until
from tests.servers import BROKER, scratch

BREAK_THE_UPDATE = """
CREATE FUNCTION break_the_update() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.comment = 'UPDATE' THEN PERFORM 1 / 0; END IF; RETURN NEW;
END $$;
CREATE TRIGGER break_the_update BEFORE UPDATE ON payouts_payout FOR EACH ROW EXECUTE FUNCTION break_the_update()
"""


@pytest.fixture
def hasty(own_service, gateway):
    own_service.environment |= {**HASTY, "PAYOUT_GATEWAY": "http", "PAYOUT_GATEWAY_URL": gateway.url}
    return own_service


class Wire:
    """Carries bytes to the broker until it is cut, or holds them back."""

    def __init__(self) -> None:
        self.carries = threading.Event()
        self.carries.set()
        self.server = socket.create_server(("127.0.0.1", 0))
        broker = urlsplit(BROKER)
        self.far = broker.hostname, broker.port or {"redis": 6379}.get(broker.scheme, 5672)
        netloc = f"{broker.username or ''}:{broker.password or ''}@127.0.0.1:{self.server.getsockname()[1]}"
        self.url = broker._replace(netloc=netloc).geturl()
        self.ends: list[socket.socket] = []
        self.acceptor = threading.Thread(target=self.accept)
        self.acceptor.start()

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _address = self.server.accept()
                self.ends.append(near)
                far = socket.create_connection(self.far)
                self.ends.append(far)
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self.carry, args=(one, other), daemon=True).start()

    def carry(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                self.carries.wait()
                other.sendall(data)

    def cut(self) -> None:
        for end in self.ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.ends.clear()

    def close(self) -> None:
        self.carries.set()
        # Whoever is cut off comes again at once.
        self.server.shutdown(socket.SHUT_RDWR)
        self.acceptor.join()
        self.server.close()
        self.cut()


@pytest.mark.skipif(IN_FILES, reason="it takes a broker, and CELERY_BROKER_URL names none")
def test_the_first_bell_after_the_broker_hung_up_is_heard(own_service):
    own_service.environment["PAYOUT_RECOVERY_INTERVAL"] = "3600"
    own_service.start_worker()
    with closing(Wire()) as wire:
        own_service.start_api(CELERY_BROKER_URL=wire.url, WEB_CONCURRENCY="1")
        own_service.until(own_service.post(), "COMPLETED")
        wire.cut()
        for payout in [own_service.post() for _ in range(8)]:
            own_service.until(payout, "COMPLETED")


@pytest.mark.skipif(IN_FILES, reason="it takes a broker, and CELERY_BROKER_URL names none")
def test_a_worker_whose_broker_hung_up_hears_again(own_service):
    own_service.environment["PAYOUT_RECOVERY_INTERVAL"] = "3600"
    own_service.start_api()
    with closing(Wire()) as wire:
        own_service.start_worker(CELERY_BROKER_URL=wire.url, SANDBOX_DELAY="0.5")
        for _cut in range(4):
            made = [own_service.post() for _ in range(12)]
            wait_until(lambda made=made: "PROCESSING" in own_service.statuses(made))
            wire.cut()
            wait_until(lambda made=made: own_service.statuses(made) == {"COMPLETED": 12})


@pytest.mark.skipif(IN_FILES, reason="it takes a broker, and CELERY_BROKER_URL names none")
def test_a_worker_whose_broker_is_silent_stops_when_it_is_told(own_service):
    own_service.environment["PAYOUT_RECOVERY_INTERVAL"] = "0.5"
    own_service.start_api(CELERY_BROKER_URL=NO_BROKER)
    with closing(Wire()) as wire:
        worker = own_service.start_worker(CELERY_BROKER_URL=wire.url)
        own_service.until(own_service.post(), "COMPLETED")
        wire.carries.clear()
        worker.terminate()
        time.sleep(0.5)
        late = own_service.post()
        assert worker.wait(60) == 0
    assert own_service.get(late)["status"] == "NEW"


def test_over_tls_a_broker_is_known_by_the_name_in_its_certificate(own_service, certificate):
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
        port = listener.getsockname()[1]
        url = {"CELERY_BROKER_URL": f"amqps://localhost:{port}//", "SSL_CERT_FILE": str(certificate)}
        own_service.start_worker(**url)
        connection, _address = listener.accept()
        with suppress(ssl.SSLError):
            # Whoever takes any name goes on, and waits for AMQP.
            stack.enter_context(tls.wrap_socket(connection, server_side=True))
        wait_until(lambda: "Hostname mismatch" in own_service.output())


def test_the_first_bell_after_postgresql_hung_up_is_heard(own_service):
    own_service.environment |= {"PAYOUT_RECOVERY_INTERVAL": "3600", "SANDBOX_DELAY": "0.1"}
    own_service.start_api()
    own_service.start_worker()
    # As many as a worker has threads, and as many again.
    for _before_and_after in range(2):
        for payout in [own_service.post() for _ in range(8)]:
            own_service.until(payout, "COMPLETED")
        own_service.database.hang_up()


@pytest.mark.parametrize("broker", [{"PAYOUT_RECOVERY_INTERVAL": "3600"}, {"CELERY_BROKER_URL": NO_BROKER}])
def test_an_outcome_is_written_although_postgresql_hung_up_meanwhile(own_service, broker):
    own_service.environment |= {"PAYOUT_RECOVERY_INTERVAL": "1", **broker}
    own_service.start_api()
    own_service.start_worker(SANDBOX_DELAY="1")
    payout = own_service.post()
    own_service.until(payout, "PROCESSING")
    own_service.database.hang_up()
    assert own_service.until(payout, "COMPLETED")["attempt"] == 1


def test_each_thread_keeps_its_connection(own_service):
    own_service.start_api(WEB_CONCURRENCY="1", API_THREADS="1")
    own_service.start_worker(CELERY_CONCURRENCY="1", PAYOUT_RECOVERY_INTERVAL="3600")
    connected = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    own_service.until(own_service.post(), "COMPLETED")
    first = own_service.database.rows(connected)
    own_service.until(own_service.post(), "COMPLETED")
    # Recovery's threads may have come by now.
    assert set(first) <= set(own_service.database.rows(connected))
    assert len(first) >= 2


def test_clients_that_fall_silent_in_a_request_keep_no_thread(own_service):
    own_service.start_api(WEB_CONCURRENCY="1", API_THREADS="2")
    half_a_head = b"POST /api/v1/payouts/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    half_a_body = half_a_head + b"Content-Length: 99\r\n\r\n{"
    too_much = half_a_head + b"Content-Length: 99999\r\n\r\n" + b" " * 70_000
    with ExitStack() as stack:
        clients = []
        for said in (half_a_head, half_a_body, too_much):
            clients.append(stack.enter_context(socket.create_connection(("127.0.0.1", own_service.port))))
            clients[-1].sendall(said)
        assert call("GET", f"{own_service.base}/healthz/").status == 200
        assert [client.recv(99)[9:12] for client in clients] == [b"", b"400", b"413"]


@pytest.mark.parametrize("broker", ["refuses", "is a black hole"])
def test_payouts_are_taken_and_paid_without_a_broker(hasty, gateway, black_hole, broker):
    hasty.environment["CELERY_BROKER_URL"] = NO_BROKER if broker == "refuses" else black_hole
    hasty.start_api()
    hasty.start_worker()
    with ThreadPoolExecutor(8) as clients:
        made = list(clients.map(lambda _: hasty.post(), range(80)))
    wait_until(lambda: hasty.statuses(made) == {"COMPLETED": 80})
    assert [gateway.paid(payout) for payout in made] == [1] * 80


def test_what_postgresql_refuses_to_claim_ends_no_recovery(hasty):
    hasty.environment["CELERY_BROKER_URL"] = NO_BROKER
    with hasty.database.connect() as connection:
        connection.execute(BREAK_THE_UPDATE)
        hasty.start_api()
        *_others, payout = [hasty.post(comment=comment) for comment in ("", "", "", "", "UPDATE")]
        hasty.start_worker()
        # Each of its threads has met it, and has forgotten what it did before.
        wait_until(lambda: len(hasty.lines(message="recovery goes on after this", request_id="-")) > 8)
        assert not [line for line in hasty.lines(level="ERROR") if line["request_id"] != "-"]
        connection.execute("DROP TRIGGER break_the_update ON payouts_payout")
    hasty.until(payout, "COMPLETED")


def test_a_postgresql_that_takes_no_writes_is_a_503_and_passes(own_service):
    new = {"amount": "1", "currency": "EUR", "recipient_details": {"a": 1}}
    waits = "recovery waits for the database: cannot execute UPDATE"
    own_service.environment |= {**HASTY, "WEB_CONCURRENCY": "1", "CELERY_BROKER_URL": NO_BROKER}
    own_service.start_api()
    own_service.start_worker()
    payout = own_service.until(own_service.post(), "COMPLETED")
    own_service.database.set("default_transaction_read_only = on")
    own_service.database.hang_up()
    assert own_service.get(payout) == payout
    assert call("POST", own_service.payouts, new).status == 503
    assert "the database is not available: cannot execute INSERT" in own_service.output()
    wait_until(lambda: waits in own_service.output())
    assert "recovery goes on after this" not in own_service.output()
    # Another one does now, as after a failover; what is connected stays with the old one.
    own_service.database.set("default_transaction_read_only = off")
    wait_until(lambda: call("POST", own_service.payouts, new).status == 201)
    wait_until(lambda: own_service.database.rows("SELECT FROM payouts_payout WHERE status = 'NEW'") == [])


def test_a_worker_leaves_a_postgresql_that_takes_no_writes(own_service):
    # Long enough for the bell alone to be heard.
    own_service.environment["PAYOUT_RECOVERY_INTERVAL"] = "600"
    own_service.start_api()
    own_service.start_worker()
    payout = own_service.until(own_service.post(), "COMPLETED")
    own_service.database.set("default_transaction_read_only = on")
    own_service.database.hang_up()
    own_service.ring(*[payout["id"]] * 8)
    wait_until(lambda: own_service.output().count("ReadOnlySqlTransaction") >= 8)
    own_service.database.set("default_transaction_read_only = off")
    wait_until(lambda: own_service.get(payout))
    for _thread in range(8):
        own_service.until(own_service.post(), "COMPLETED")


@pytest.fixture(scope="module")
def grounded():
    """With a PostgreSQL of its own, which writes its log once in ten seconds if no commit waits for it."""
    ground = Ground(scratch / "ground", "-c", "wal_writer_delay=10s", "-c", "autovacuum=off")
    service = Service(ground)
    service.environment |= HASTY
    try:
        service.migrate()
        service.start_api(WEB_CONCURRENCY="1", API_THREADS="2")
        service.start_worker()
        yield service
    finally:
        service.close()
        ground.stop()


def test_an_outage_of_postgresql_is_a_503_and_passes(grounded):
    before = grounded.until(grounded.post(), "COMPLETED")
    grounded.database.stop()
    new = {"amount": "1", "currency": "EUR", "recipient_details": {"a": 1}}
    for call_of in (("GET", f"{grounded.payouts}{before['id']}/"), ("POST", grounded.payouts, new)):
        answer = call(*call_of)
        assert (answer.status, answer.headers["Content-Type"]) == (503, "application/json")
        assert answer.headers["Retry-After"] == "5"
    assert call("GET", f"{grounded.base}/readyz/").status == 503
    assert call("GET", f"{grounded.base}/healthz/").status == 200
    grounded.database.start()
    wait_until(grounded.is_ready)
    assert grounded.get(before) == before
    grounded.until(grounded.post(), "COMPLETED")


@pytest.mark.parametrize(("number", "status", "attempts"), [("4111", "COMPLETED", 2), (REFUSED_NUMBER, "FAILED", 1)])
def test_a_crash_of_postgresql_may_take_back_paid_but_not_refused(grounded, number, status, attempts):
    payout = grounded.until(grounded.post(recipient_details={"number": number}), status)
    assert payout["attempt"] == 1
    grounded.database.crash()
    grounded.database.start()
    wait_until(grounded.is_ready)
    assert grounded.until(payout, status)["attempt"] == attempts


def test_a_frozen_postgresql_leaves_a_thread_to_say_that_the_process_lives(grounded):
    paths = [f"/api/v1/payouts/{grounded.post()['id']}/"] * 8

    def status(path):
        return call("GET", f"{grounded.base}{path}").status

    with ThreadPoolExecutor(8) as clients:
        # Now each thread has its connection.
        assert set(clients.map(status, paths)) == {200}
        with grounded.database.frozen():
            asked = [clients.submit(status, path) for path in ("/readyz/", "/metrics") * 4]
            wait_until(lambda: sum(one.done() for one in asked) == len(asked) - 1)
            assert status("/healthz/") == 200
    assert status("/readyz/") == 200
