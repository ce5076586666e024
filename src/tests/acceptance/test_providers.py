"""Providers as they are: slow, away, wrong about the secret, and with something to say later."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from payouts.gateways.sandbox import REFUSED_NUMBER, SandboxGateway
from tests.acceptance.service import NO_BROKER, SHORT_TIMES, Gateway, call, wait_until

TOKEN = "known to both"
OWN_CLASS = f"{SandboxGateway.__module__}.{SandboxGateway.__qualname__}"


@pytest.fixture
def quick_service(own_service, gateway):
    """With short leases, the reference gateway and its look-up. The gateway may notify."""
    own_service.environment |= {
        **SHORT_TIMES,
        **gateway.environment(can_look=True),
        "PAYOUT_GATEWAY": "http",
        "PAYOUT_GATEWAY_NOTIFICATION_TOKEN": TOKEN,
    }
    own_service.start_api()
    return own_service


def post_many(service, count, **fields):
    return [service.post(**fields) for _ in range(count)]


def select(service, columns, payouts):
    query = f"SELECT {columns} FROM payouts_payout WHERE id = ANY(%s)"  # noqa: S608
    return service.database.rows(query, [payout["id"] for payout in payouts])


def notify(service, token=TOKEN, **body):
    return call("POST", f"{service.base}/gateways/http/", body, Authorization=f"Bearer {token}")


def authors(service, payout):
    """Who has changed it."""
    history = call("GET", f"{service.payouts}{payout['id']}/history/").json()
    return [change["changed_by"].split()[0] for change in history["results"]]


@pytest.mark.parametrize("broker", [{}, {"CELERY_BROKER_URL": NO_BROKER}], ids=["with a broker", "without a broker"])
def test_a_provider_that_is_dead_delays_no_other(own_service, broker):
    with closing(Gateway()) as north, closing(Gateway()) as south:
        own_service.environment |= {
            **broker,
            **north.environment("north"),
            **south.environment("south"),
            "PAYOUT_ROUTES": f"RUB:http.north,USD:http.south,EUR:{OWN_CLASS}",
            "PAYOUT_RECOVERY_INTERVAL": "0.5",
            # Far longer than the others may take.
            "PAYOUT_GATEWAY_NORTH_TIMEOUT": "20",
        }
        own_service.start_api()
        own_service.start_worker()
        with north.frozen():
            waiting = post_many(own_service, 40)
            others = post_many(own_service, 20, currency="USD") + post_many(own_service, 20, currency="EUR")
            wait_until(lambda: own_service.statuses(others) == {"COMPLETED": 40}, 15, own_service.log)
            assert "COMPLETED" not in own_service.statuses(waiting)
        wait_until(lambda: own_service.statuses(waiting) == {"COMPLETED": 40}, 120, own_service.log)
        assert own_service.payments(north, waiting) == [1] * 40
        assert own_service.payments(south, others[:20]) == [1] * 20
        assert set(select(own_service, "gateway", others)) == {("http.south",), (OWN_CLASS,)}


def test_a_wrong_secret_fails_nothing_and_the_right_one_pays_all(quick_service, gateway):
    gateway.set(token="changed meanwhile")
    quick_service.start_worker()
    payouts = post_many(quick_service, 20)
    wait_until(lambda: all(attempt > 2 for (attempt,) in select(quick_service, "attempt", payouts)))
    assert quick_service.statuses(payouts) == {"PROCESSING": 20}
    assert gateway.ledger() == []
    gateway.set(token="")
    wait_until(lambda: quick_service.statuses(payouts) == {"COMPLETED": 20}, log=quick_service.log)
    assert quick_service.payments(gateway, payouts) == [1] * 20


def test_a_provider_that_was_away_for_longer_than_it_remembers_keys_pays_all(quick_service, gateway):
    gateway.close()
    # A key may be sent for one second after it was first sent.
    quick_service.start_worker(PAYOUT_GATEWAY_REMEMBERS="5")
    payouts = post_many(quick_service, 10)
    is_old = "now() - created_at > interval '6 seconds' AND attempt > 3"
    wait_until(lambda: select(quick_service, f"DISTINCT {is_old}", payouts) == [(True,)])
    assert set(select(quick_service, "status, asked_at, due_at IS NOT NULL", payouts)) == {("PROCESSING", None, True)}
    gateway.start()
    wait_until(lambda: quick_service.statuses(payouts) == {"COMPLETED": 10}, log=quick_service.log)
    assert quick_service.payments(gateway, payouts) == [1] * 10


def test_pending_payouts_outlive_the_worker(quick_service, gateway):
    gateway.set(manner="pending", pending_seconds=4)
    worker = quick_service.start_worker()
    payouts = post_many(quick_service, 8) + post_many(quick_service, 2, recipient_details={"number": REFUSED_NUMBER})
    wait_until(lambda: select(quick_service, "DISTINCT pending_since IS NOT NULL", payouts) == [(True,)])
    os.killpg(worker.pid, signal.SIGKILL)
    quick_service.start_worker()
    wait_until(lambda: quick_service.statuses(payouts) == {"COMPLETED": 8, "FAILED": 2}, log=quick_service.log)
    assert {entry["posts"] for entry in gateway.ledger()} == {1}


def test_answers_that_are_doubled_exchanged_or_cut_settle_nothing(quick_service, gateway):
    gateway.set_moods("twice", "exchange", "other key", "other amount", "half", "cut")
    quick_service.start_worker(CELERY_CONCURRENCY="16")
    good = post_many(quick_service, 30)
    bad = post_many(quick_service, 30, recipient_details={"number": REFUSED_NUMBER})
    wait_until(lambda: len(gateway.ledger()) == 60, log=quick_service.log)
    assert quick_service.statuses(good).keys() <= {"COMPLETED", "PROCESSING"}
    assert quick_service.statuses(bad).keys() <= {"FAILED", "PROCESSING"}
    gateway.set_moods("ok")
    wait_until(lambda: quick_service.statuses(good) == {"COMPLETED": 30}, log=quick_service.log)
    wait_until(lambda: quick_service.statuses(bad) == {"FAILED": 30}, log=quick_service.log)
    assert quick_service.payments(gateway, good + bad) == [1] * 30 + [0] * 30


@pytest.mark.parametrize("mood", ["sent", "doubled"])
def test_a_notification_makes_a_worker_look_at_a_pending_payout(quick_service, gateway, mood):
    url = f"{quick_service.base}/gateways/http/"
    gateway.set(notification_url=url, notification_token=TOKEN, notification_moods=[mood])
    # A worker looks after 5 and after 20 seconds by itself.
    gateway.set(manner="pending", pending_seconds=6)
    quick_service.start_worker()
    payout = quick_service.post()
    quick_service.wait_for(payout, "COMPLETED")
    assert "notification" in authors(quick_service, payout)
    assert quick_service.payments(gateway, [payout]) == [1]


def test_a_notification_makes_a_worker_learn_that_the_money_came_back(quick_service, gateway):
    url = f"{quick_service.base}/gateways/http/"
    gateway.set(notification_url=url, notification_token=TOKEN, manner="returns", return_seconds=1, return_share=1)
    quick_service.start_worker()
    payout = quick_service.post()
    completed = quick_service.wait_for(payout, "COMPLETED")
    failed = quick_service.wait_for(payout, "FAILED")
    assert failed["failure_reason"] == "Returned: The account is closed."
    assert failed["processed_at"] == completed["processed_at"]
    assert [entry["posts"] for entry in gateway.ledger()] == [1]


def test_forged_notifications_settle_nothing(quick_service, gateway):
    gateway.set(manner="pending", pending_seconds=600)
    quick_service.start_worker()
    payout = quick_service.post()
    wait_until(lambda: select(quick_service, "pending_since IS NOT NULL", [payout]) == [(True,)])
    [before] = select(quick_service, "attempt, due_at, updated_at", [payout])
    [(key,)] = select(quick_service, "gateway_key::text", [payout])

    def forge(number):
        return notify(quick_service, token="guessed", key=key, status="paid", number=number).status

    with ThreadPoolExecutor(4) as strangers:
        answers = set(strangers.map(forge, range(500)))
        assert call("GET", f"{quick_service.payouts}?page_size=1").status == 200
    # Refused, or too many in a second.
    assert 403 in answers
    assert answers <= {403, 429}
    assert notify(quick_service, key=key, padding="x" * 10**5).status == 413
    assert select(quick_service, "attempt, due_at, updated_at", [payout]) == [before]


def test_a_notification_of_something_unknown_is_taken_and_changes_nothing(quick_service):
    quick_service.start_worker()
    payout = quick_service.wait_for(quick_service.post(), "COMPLETED")
    for body in {"key": payout["id"]}, {"keys": ["no uuid", 7, None]}, {"keys": "x"}, {}, {"key": ["x"]}:
        assert notify(quick_service, **body).status == 200
    assert quick_service.get(payout) == payout
