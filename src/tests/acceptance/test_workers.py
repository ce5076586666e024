"""What workers do with what an API has taken. They are killed, frozen and told to stop; the API is the same for all."""

import os
import shutil
import signal
from uuid import uuid4

import pytest

from payouts.gateways.sandbox import REFUSED_NUMBER
from tests.acceptance.service import HASTY, NO_BROKER, call, served, wait_until
from tests.local import filesystem_broker, free_port


@pytest.fixture(scope="module")
def with_api(migrated):
    with served(migrated) as service:
        service.start_api()
        yield service


@pytest.fixture
def own_workers(with_api):
    """Which they are is for the test to say; no payout and no message waits for them."""
    service = with_api.apart()
    yield service
    service.kill()
    with_api.forget()


@pytest.fixture
def hasty(own_workers, gateway):
    own_workers.environment |= {**HASTY, "PAYOUT_GATEWAY": "http", "PAYOUT_GATEWAY_URL": gateway.url}
    return own_workers


def test_a_message_alone_is_enough(own_workers):
    payout = own_workers.post()
    own_workers.purge()
    own_workers.start_worker(PAYOUT_RECOVERY_INTERVAL="3600")
    own_workers.ring(payout["id"])
    own_workers.until(payout, "COMPLETED")


def test_a_worker_that_breaks_down_ends(own_workers, tmp_path):
    worker = own_workers.start_worker(CELERY_BROKER_URL=filesystem_broker(tmp_path / "broker"))
    wait_until(lambda: own_workers.lines(logger="celery.apps.worker"))
    shutil.rmtree(tmp_path / "broker")
    assert worker.wait(30) == 1
    assert own_workers.lines(message="stops")


def test_a_replay_and_a_retry_ring_again(own_workers):
    own_workers.environment["PAYOUT_RECOVERY_INTERVAL"] = "3600"
    request = {"amount": "1", "currency": "USD", "recipient_details": {"number": REFUSED_NUMBER}}

    def post():
        return call("POST", own_workers.payouts, request, **{"Idempotency-Key": "k"})

    payout = post().json()
    own_workers.purge()
    own_workers.start_worker()
    assert post().status == 200
    own_workers.until(payout, "FAILED")
    call("PATCH", f"{own_workers.payouts}{payout['id']}/", {"status": "NEW", "recipient_details": {"a": 1}})
    own_workers.until(payout, "COMPLETED")


def test_a_slow_gateway_shows_each_status_on_the_way(own_workers):
    payout = own_workers.post()
    assert own_workers.get(payout)["status"] == "NEW"
    own_workers.start_worker(SANDBOX_DELAY="1")
    own_workers.until(payout, "PROCESSING")
    own_workers.until(payout, "COMPLETED")


def test_a_deleted_or_settled_payout_never_reaches_the_gateway(hasty, gateway):
    deleted, settled, other = (hasty.post() for _ in range(3))
    assert call("DELETE", f"{hasty.payouts}{deleted['id']}/").status == 204
    assert call("PATCH", f"{hasty.payouts}{settled['id']}/", {"status": "COMPLETED"}).status == 200
    hasty.start_worker()
    hasty.until(other, "COMPLETED")
    assert [gateway.paid(payout) for payout in (deleted, settled, other)] == [0, 0, 1]


def test_a_gateway_of_many_moods_pays_each_once(hasty, gateway):
    gateway.modes("ok", "ok", "slow", "500", "broken", "drop", "409", "401", "202", "page", "drip", "hang")
    hasty.start_worker()
    made = [hasty.post() for _ in range(40)]
    wait_until(lambda: sum(entry["paid"] for entry in gateway.ledger()) > 20)
    gateway.modes("ok")
    wait_until(lambda: hasty.statuses(made) == {"COMPLETED": 40}, 60)
    assert [gateway.paid(payout) for payout in made] == [1] * 40


def test_forty_payouts_whose_gateway_hangs_do_not_delay_the_others(hasty, gateway):
    hasty.environment["CELERY_BROKER_URL"] = NO_BROKER
    hanging = [hasty.post(recipient_details={"mode": "hang"}) for _ in range(40)]
    hasty.database.rows(
        "UPDATE payouts_payout SET status = 'PROCESSING', attempt = 1, due_at = now() - interval '1 hour'"
        " WHERE id = ANY(%s) RETURNING id",
        [payout["id"] for payout in hanging],
    )
    others = [hasty.post() for _ in range(20)]
    hasty.start_worker()
    wait_until(lambda: hasty.statuses(others) == {"COMPLETED": 20})
    attempts = "SELECT count(*) FROM payouts_payout WHERE id = ANY(%s) AND attempt > 1"
    assert hasty.database.rows(attempts, [payout["id"] for payout in hanging])[0][0] < 40


def test_the_heart_beats_while_much_is_made_good(own_workers, tmp_path):
    own_workers.environment |= {"CELERY_BROKER_URL": NO_BROKER, "PAYOUT_RECOVERY_INTERVAL": "0.5"}
    for _ in range(40):
        own_workers.post()
    leave_half = (
        "UPDATE payouts_payout SET status = 'PROCESSING', attempt = 1, due_at = '2026-01-01'"
        " WHERE id IN (SELECT id FROM payouts_payout LIMIT 20) RETURNING id"
    )
    assert len(own_workers.database.rows(leave_half)) == 20
    own_workers.start_worker(SANDBOX_DELAY="1", TMPDIR=str(tmp_path))
    wait_until(lambda: own_workers.database.rows("SELECT FROM payouts_payout WHERE status = 'COMPLETED'"))
    (tmp_path / "heartbeat").unlink()
    wait_until((tmp_path / "heartbeat").exists)
    for due in ("status = 'NEW'", "due_at < now()"):
        assert own_workers.database.rows(f"SELECT FROM payouts_payout WHERE {due}")


def test_what_a_killed_worker_had_in_hand_is_paid_once(hasty, gateway):
    worker = hasty.start_worker()
    made = [hasty.post(recipient_details={"mode": "hang"}) for _ in range(4)]
    wait_until(lambda: len({entry["payout"] for entry in gateway.ledger()} & {payout["id"] for payout in made}) == 4)
    os.killpg(worker.pid, signal.SIGKILL)
    # The gateway had booked them; it will say so when it is asked again.
    hasty.database.rows(
        "UPDATE payouts_payout SET recipient_details = '{\"a\": 1}' WHERE id = ANY(%s) RETURNING id",
        [payout["id"] for payout in made],
    )
    hasty.start_worker()
    wait_until(lambda: hasty.statuses(made) == {"COMPLETED": 4})
    assert [gateway.paid(payout) for payout in made] == [1] * 4


def test_a_worker_that_was_frozen_past_its_lease_changes_nothing(hasty, gateway):
    port = str(free_port())
    frozen = hasty.start_worker(SANDBOX_DELAY="1", PAYOUT_GATEWAY="sandbox", METRICS_PORT=port)
    payout = hasty.post()
    hasty.until(payout, "PROCESSING")
    os.killpg(frozen.pid, signal.SIGSTOP)
    hasty.start_worker()
    done = hasty.until(payout, "COMPLETED")
    os.killpg(frozen.pid, signal.SIGCONT)
    dropped = {"message": "was overtaken, its outcome is dropped", "outcome": "paid", "level": "ERROR"}
    wait_until(lambda: hasty.lines(payout=payout["id"], attempt=1, reference=f"sandbox-{payout['id']}", **dropped))
    assert hasty.get(payout) == done
    assert (done["attempt"], gateway.paid(payout)) == (2, 1)
    assert "\npayouts_dropped_payments_total 1.0\n" in call("GET", f"http://127.0.0.1:{port}/metrics").body.decode()


SLOW_FIRST_CLAIM = """
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3); RETURN NEW; END $$;
CREATE TRIGGER wait BEFORE UPDATE ON payouts_payout FOR EACH ROW
WHEN (NEW.comment = 'slow' AND NEW.status = 'PROCESSING' AND NEW.attempt = 1) EXECUTE FUNCTION wait()
"""


def test_a_worker_whose_claim_took_most_of_its_lease_does_not_ask(hasty, gateway):
    with hasty.database.connect() as connection:
        connection.execute(SLOW_FIRST_CLAIM)
    hasty.start_worker()
    payout = hasty.post(comment="slow")
    assert hasty.until(payout, "COMPLETED")["attempt"] == 2
    assert hasty.lines(message="woke too late to ask the gateway", payout=payout["id"], attempt=1)
    [entry] = [entry for entry in gateway.ledger() if entry["payout"] == payout["id"]]
    assert entry["calls"] == 1


def test_a_message_that_nobody_can_read_ends_no_worker(own_workers):
    worker = own_workers.start_worker(PAYOUT_RECOVERY_INTERVAL="3600")
    # Then the queue is there.
    own_workers.until(own_workers.post(), "COMPLETED")
    headers, body = {"task": "payouts.process", "id": "1"}, [[str(uuid4())], {}, {}]
    unreadable = [({"id": 1}, headers), (1, headers), (body[:2], headers), (headers, {"task": ["payouts.process"]})]
    unreadable += [(body, {"task": "payouts.process"}), (body, {**headers, "timelimit": "1"}), ({"task": "1"}, {})]
    with own_workers.connect() as connection:
        for message, its_headers in unreadable:
            connection.Producer().publish(message, routing_key=own_workers.queue, headers=its_headers)
    wait_until(lambda: own_workers.output().count("deleted unknown message") == len(unreadable), log=own_workers.log)
    own_workers.until(own_workers.post(), "COMPLETED")
    assert worker.poll() is None


def test_a_terminated_worker_finishes_what_it_has_in_hand(own_workers):
    worker = own_workers.start_worker(SANDBOX_DELAY="1")
    payout = own_workers.post()
    own_workers.until(payout, "PROCESSING")
    assert own_workers.stop(worker) == 0
    assert own_workers.get(payout)["status"] == "COMPLETED"


def test_a_terminated_worker_waits_for_what_recovery_has_in_hand(hasty):
    hasty.environment["CELERY_BROKER_URL"] = NO_BROKER
    payout = hasty.post()
    worker = hasty.start_worker(SANDBOX_DELAY="1", PAYOUT_GATEWAY="sandbox")
    hasty.until(payout, "PROCESSING")
    assert hasty.stop(worker) == 0
    assert hasty.get(payout)["status"] == "COMPLETED"


def test_a_terminated_worker_begins_nothing_more(own_workers):
    for _ in range(12):
        own_workers.post()
    worker = own_workers.start_worker(SANDBOX_DELAY="5", PAYOUT_RECOVERY_INTERVAL="1")
    count = "SELECT status, count(*) FROM payouts_payout GROUP BY 1"
    # Four that were rung for, four that recovery took a little later, and four whose messages the worker has.
    wait_until(lambda: dict(own_workers.database.rows(count)) == {"PROCESSING": 8, "NEW": 4})
    assert own_workers.stop(worker) == 0
    assert dict(own_workers.database.rows(count)) == {"COMPLETED": 8, "NEW": 4}
