"""Workers that are killed, frozen and stopped, while one API takes the payouts for all tests."""

import os
import shutil
import signal
from itertools import islice

import pytest

from payouts.gateways.sandbox import REFUSED_NUMBER
from tests.acceptance.service import NO_BROKER, SHORT_TIMES, call, deployment, wait_until
from tests.garbage import garbage, send
from tests.gateway.behaviour import MOODS
from tests.local import filesystem_broker, free_port


@pytest.fixture(scope="module")
def api_service(migrated_database):
    with deployment(migrated_database) as service:
        service.start_api()
        yield service


@pytest.fixture
def own_workers(api_service):
    """The shared API without a worker. The test starts its own; no payout and no message waits for them."""
    service = api_service.clone()
    yield service
    service.kill()
    api_service.clear()


@pytest.fixture
def quick_workers(own_workers, gateway):
    """The same with short leases and the reference gateway."""
    own_workers.environment |= {**SHORT_TIMES, "PAYOUT_GATEWAY": "http", **gateway.environment()}
    return own_workers


def test_a_message_alone_gets_a_payout_paid(own_workers):
    payout = own_workers.post()
    own_workers.purge()
    own_workers.start_worker(PAYOUT_RECOVERY_INTERVAL="3600")
    own_workers.ring(payout["id"])
    own_workers.wait_for(payout, "COMPLETED")


def test_a_worker_that_breaks_down_exits_with_an_error(own_workers, tmp_path):
    worker = own_workers.start_worker(CELERY_BROKER_URL=filesystem_broker(tmp_path / "broker"))
    wait_until(lambda: own_workers.log_lines(logger="celery.apps.worker"))
    shutil.rmtree(tmp_path / "broker")
    assert worker.wait(30) == 1
    assert own_workers.log_lines(message="stops")


def test_a_replay_and_a_retry_send_a_message(own_workers):
    own_workers.environment["PAYOUT_RECOVERY_INTERVAL"] = "3600"
    request = {"amount": "1", "currency": "USD", "recipient_details": {"number": REFUSED_NUMBER}}

    def post():
        return call("POST", own_workers.payouts, request, **{"Idempotency-Key": "k"})

    payout = post().json()
    own_workers.purge()
    own_workers.start_worker()
    assert post().status == 200
    own_workers.wait_for(payout, "FAILED")
    call("PATCH", f"{own_workers.payouts}{payout['id']}/", {"status": "NEW", "recipient_details": {"a": 1}})
    own_workers.wait_for(payout, "COMPLETED")


def test_the_api_shows_each_status_on_the_way(own_workers):
    payout = own_workers.post()
    assert own_workers.get(payout)["status"] == "NEW"
    own_workers.start_worker(SANDBOX_DELAY="1")
    own_workers.wait_for(payout, "PROCESSING")
    own_workers.wait_for(payout, "COMPLETED")


def test_a_deleted_or_settled_payout_never_reaches_the_gateway(quick_workers, gateway):
    deleted, settled, other = (quick_workers.post() for _ in range(3))
    assert call("DELETE", f"{quick_workers.payouts}{deleted['id']}/").status == 204
    assert call("PATCH", f"{quick_workers.payouts}{settled['id']}/", {"status": "COMPLETED"}).status == 200
    quick_workers.start_worker()
    quick_workers.wait_for(other, "COMPLETED")
    assert quick_workers.payments(gateway, [deleted, settled, other]) == [0, 0, 1]


def test_a_gateway_that_misbehaves_pays_each_payout_once(quick_workers, gateway):
    gateway.set_moods("ok", "ok", *(mood for mood in MOODS if mood not in ("ok", "refuse")))
    quick_workers.start_worker()
    payouts = [quick_workers.post() for _ in range(40)]
    wait_until(lambda: len(gateway.ledger()) > 20)
    gateway.set_moods("ok")
    wait_until(lambda: quick_workers.statuses(payouts) == {"COMPLETED": 40}, 60)
    assert quick_workers.payments(gateway, payouts) == [1] * 40


def test_forty_payouts_whose_gateway_hangs_do_not_delay_the_others(quick_workers, gateway):
    quick_workers.environment["CELERY_BROKER_URL"] = NO_BROKER
    hanging = [quick_workers.post(recipient_details={"mood": "hang"}) for _ in range(40)]
    quick_workers.database.rows(
        "UPDATE payouts_payout SET status = 'PROCESSING', attempt = 1, due_at = now() - interval '1 hour'"
        " WHERE id = ANY(%s) RETURNING id",
        [payout["id"] for payout in hanging],
    )
    others = [quick_workers.post() for _ in range(20)]
    quick_workers.start_worker()
    wait_until(lambda: quick_workers.statuses(others) == {"COMPLETED": 20})
    attempts = "SELECT count(*) FROM payouts_payout WHERE id = ANY(%s) AND attempt > 1"
    assert quick_workers.database.rows(attempts, [payout["id"] for payout in hanging])[0][0] < 40


def test_the_heartbeat_goes_on_during_a_long_recovery(own_workers, tmp_path):
    own_workers.environment |= {"CELERY_BROKER_URL": NO_BROKER, "PAYOUT_RECOVERY_INTERVAL": "0.5"}
    for _ in range(40):
        own_workers.post()
    leave_half = (
        "UPDATE payouts_payout SET status = 'PROCESSING', attempt = 1, due_at = '2026-01-01'"
        " WHERE id IN (SELECT id FROM payouts_payout LIMIT 20) RETURNING id"
    )
    assert len(own_workers.database.rows(leave_half)) == 20
    own_workers.start_worker(SANDBOX_DELAY="1", TMPDIR=str(tmp_path), CELERY_CONCURRENCY="4")
    wait_until(lambda: own_workers.database.rows("SELECT FROM payouts_payout WHERE status = 'COMPLETED'"))
    (tmp_path / "heartbeat").unlink()
    wait_until((tmp_path / "heartbeat").exists)
    for due in ("status = 'NEW'", "due_at < now()"):
        assert own_workers.database.rows(f"SELECT FROM payouts_payout WHERE {due}")


def test_the_payouts_of_a_killed_worker_are_paid_once(quick_workers, gateway):
    worker = quick_workers.start_worker()
    payouts = [quick_workers.post(recipient_details={"mood": "hang"}) for _ in range(4)]
    wait_until(lambda: len(gateway.ledger()) == 4)
    os.killpg(worker.pid, signal.SIGKILL)
    # The gateway has booked them. Without the mode it will say so to the next worker.
    quick_workers.database.rows(
        "UPDATE payouts_payout SET recipient_details = '{\"a\": 1}' WHERE id = ANY(%s) RETURNING id",
        [payout["id"] for payout in payouts],
    )
    quick_workers.start_worker()
    wait_until(lambda: quick_workers.statuses(payouts) == {"COMPLETED": 4})
    assert quick_workers.payments(gateway, payouts) == [1] * 4


def test_a_worker_that_was_frozen_past_its_lease_changes_nothing(own_workers):
    own_workers.environment |= SHORT_TIMES
    port = str(free_port())
    frozen = own_workers.start_worker(SANDBOX_DELAY="1", METRICS_PORT=port)
    payout = own_workers.post()
    own_workers.wait_for(payout, "PROCESSING")
    os.killpg(frozen.pid, signal.SIGSTOP)
    own_workers.start_worker()
    completed = own_workers.wait_for(payout, "COMPLETED")
    os.killpg(frozen.pid, signal.SIGCONT)
    reference = f"sandbox-{payout['id']}"
    fields = {"level": "ERROR", "outcome": "paid", "payout": payout["id"], "attempt": 1, "reference": reference}
    wait_until(lambda: own_workers.log_lines(message="was overtaken, its outcome is dropped", **fields))
    assert own_workers.get(payout) == completed
    assert completed["attempt"] == 2
    assert "\npayouts_dropped_payments_total 1.0\n" in call("GET", f"http://127.0.0.1:{port}/metrics").body.decode()


SLOW_FIRST_CLAIM = """
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3); RETURN NEW; END $$;
CREATE TRIGGER wait BEFORE UPDATE ON payouts_payout FOR EACH ROW
WHEN (NEW.comment = 'slow' AND NEW.status = 'PROCESSING' AND NEW.attempt = 1) EXECUTE FUNCTION wait()
"""


def test_a_worker_whose_claim_took_most_of_its_lease_does_not_ask_the_gateway(quick_workers, gateway):
    with quick_workers.database.connect() as connection:
        connection.execute(SLOW_FIRST_CLAIM)
    quick_workers.start_worker()
    payout = quick_workers.post(comment="slow")
    assert quick_workers.wait_for(payout, "COMPLETED")["attempt"] == 2
    assert quick_workers.log_lines(message="woke too late to ask the gateway", payout=payout["id"], attempt=1)
    [entry] = gateway.ledger()
    assert entry["posts"] == 1


def test_a_worker_pays_what_bells_announce_among_any_number_of_other_messages(own_workers):
    worker = own_workers.start_worker(PAYOUT_RECOVERY_INTERVAL="3600")
    # From now on the queue exists.
    own_workers.wait_for(own_workers.post(), "COMPLETED")
    messages, payouts = garbage(), []
    for _ in range(20):
        with own_workers.connect() as connection:
            send(connection, own_workers.queue, islice(messages, 30))
        payouts.append(own_workers.post())
    for payout in payouts:
        own_workers.wait_for(payout, "COMPLETED")
    assert worker.poll() is None
    lines = own_workers.output().splitlines()
    assert any("dropped messages that are not ours" in line for line in lines)
    assert not [line for line in lines if "Traceback" in line or len(line) > 1000]


def test_a_terminated_worker_finishes_its_payout(own_workers):
    worker = own_workers.start_worker(SANDBOX_DELAY="1")
    payout = own_workers.post()
    own_workers.wait_for(payout, "PROCESSING")
    assert own_workers.stop(worker) == 0
    assert own_workers.get(payout)["status"] == "COMPLETED"


def test_a_terminated_worker_finishes_the_payout_of_its_recovery(quick_workers):
    quick_workers.environment["CELERY_BROKER_URL"] = NO_BROKER
    payout = quick_workers.post()
    worker = quick_workers.start_worker(SANDBOX_DELAY="1", PAYOUT_GATEWAY="sandbox")
    quick_workers.wait_for(payout, "PROCESSING")
    assert quick_workers.stop(worker) == 0
    assert quick_workers.get(payout)["status"] == "COMPLETED"


def test_a_terminated_worker_starts_no_payout(own_workers):
    for _ in range(12):
        own_workers.post()
    worker = own_workers.start_worker(SANDBOX_DELAY="5", PAYOUT_RECOVERY_INTERVAL="1", CELERY_CONCURRENCY="4")
    count = "SELECT status, count(*) FROM payouts_payout GROUP BY 1"
    # Four came by message. Recovery has claimed one more, which waits for a thread.
    wait_until(lambda: dict(own_workers.database.rows(count)) == {"PROCESSING": 5, "NEW": 7})
    assert own_workers.stop(worker) == 0
    assert dict(own_workers.database.rows(count)) == {"COMPLETED": 4, "PROCESSING": 1, "NEW": 7}
    # The next worker takes that one at once.
    put_back = "SELECT due_at <= now(), taken_at, asked_at, note FROM payouts_payout WHERE status = 'PROCESSING'"
    assert own_workers.database.rows(put_back) == [(True, None, None, "the worker stopped before it asked")]
