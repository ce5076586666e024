"""
`make drill`: everything that can die dies several times, alone and together, while clients send payouts.

At the end each accepted payout must have been paid exactly once, or refused, or settled by hand. SEED=… repeats a run.
BROKER=redis uses Redis in place of RabbitMQ.
"""

import os
import random
import threading
import time
from collections import Counter, defaultdict
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.acceptance.service import Answer, call, wait_until
from tests.drill.world import World
from tests.make import LEGAL_MOVES

SEED = int(os.environ.get("SEED") or random.randrange(10**6))
ROUNDS = int(os.environ.get("ROUNDS") or 2)
CLIENT_COUNT = 4
PAUSE = 0.05
REST_SECONDS = 120
# One for each thread of two API processes and of two workers, and one for the drill.
MOST_CONNECTIONS = 2 * 4 + 2 * 12 + 1
EXPECTED_ANSWERS = {200, 201, 204, 404, 409, 410, 503}
CARD = {"number": "4111111111111111"}
REFUSED_CARD = {"number": "4000000000000002"}


class Client(threading.Thread):
    """Sends payouts. Cancels, settles, corrects, deletes and sends back some of them."""

    def __init__(self, world: World, seed: int, ending: threading.Event) -> None:
        super().__init__()
        self.world, self.ending, self.chance = world, ending, random.Random(seed)
        self.accepted: list[str] = []
        self.by_key: dict[str, set[str]] = defaultdict(set)
        self.answers: Counter[Any] = Counter()

    def run(self) -> None:
        while not self.ending.is_set():
            self.chance.choices(
                [self.post, self.post_with_key, self.change, self.delete, self.send_back, self.ring_twice],
                weights=[30, 30, 15, 3, 10, 12],
            )[0]()
            time.sleep(PAUSE)

    def call(self, method: str, path: str = "", body: Any = None, **headers: str) -> Answer | None:
        try:
            answer = call(method, f"{self.world.service.payouts}{path}", body, **headers)
        except (OSError, HTTPException):
            self.answers["none"] += 1
            return None
        self.answers[answer.status] += 1
        return answer

    def request(self) -> dict[str, Any]:
        details = REFUSED_CARD if self.chance.random() < 0.15 else CARD
        amount = f"{self.chance.randrange(1, 10**6) / 100:.2f}"
        return {"amount": amount, "currency": "RUB", "recipient_details": details}

    def post(self) -> None:
        answer = self.call("POST", "", self.request())
        if answer and answer.status == 201:
            self.accepted.append(answer.json()["id"])

    def post_with_key(self) -> None:
        """Repeats the request until it is answered, and sometimes once more."""
        key, request, count = uuid4().hex, self.request(), 0
        while not self.ending.is_set():
            answer = self.call("POST", "", request, **{"Idempotency-Key": key})
            count += 1
            if answer and answer.status in (200, 201):
                self.by_key[key].add(answer.json()["id"])
                if count > 1 or self.chance.random() < 0.7:
                    return
            time.sleep(PAUSE)

    def choose(self, status: str) -> str | None:
        """The path of a payout that has this status."""
        page = self.call("GET", f"?page_size=20&status={status}")
        payouts = page.json()["results"] if page and page.status == 200 else []
        return f"{self.chance.choice(payouts)['id']}/" if payouts else None

    def change(self) -> None:
        change = self.chance.choice(
            [
                {"status": "CANCELLED"},
                {"status": "COMPLETED", "gateway_reference": "by hand"},
                {"status": "FAILED", "failure_reason": "by hand"},
                {"amount": "77.77"},
                {"comment": "changed"},
            ]
        )
        if path := self.choose(self.chance.choice(["NEW", "NEW", "NEW", "PROCESSING", "COMPLETED"])):
            self.call("PATCH", path, change)

    def delete(self) -> None:
        if path := self.choose(self.chance.choice(["NEW", "COMPLETED", "PROCESSING"])):
            self.call("DELETE", path)

    def send_back(self) -> None:
        if path := self.choose("FAILED"):
            self.call("PATCH", path, {"status": "NEW", "recipient_details": CARD})

    def ring_twice(self) -> None:
        """Sends a second message for each of ten payouts."""
        page = self.call("GET", "?page_size=10")
        with suppress(Exception):
            if page and page.status == 200 and self.world.broker.is_up():
                self.world.service.ring(*[payout["id"] for payout in page.json()["results"]])


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path, random.Random(SEED))
    yield world
    world.close()


def census(world):
    """The numbers that would grow if something leaked."""
    resident = {}
    for name, process in (("api", world.api), ("worker 1", world.workers[0]), ("worker 2", world.workers[1])):
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        status = dict(line.split(":", 1) for line in lines)
        resident[f"{name}: MB"] = int(status["VmRSS"].split()[0]) // 1024
        resident[f"{name}: threads"] = int(status["Threads"])
    connections = world.postgres.rows("SELECT count(*) FROM pg_stat_activity WHERE datname = 'payouts'")
    return resident | {"connections to PostgreSQL": connections[0][0], **world.broker.census()}


def break_things(world, chance, log):
    faults = world.faults() * ROUNDS
    chance.shuffle(faults)
    while faults:
        together = [faults.pop() for _ in range(min(len(faults), chance.choice([1, 1, 2])))]
        kinds = {fault.__name__.split("_")[1] for fault in together}
        if len(kinds) < len(together):
            # Both would break the same thing.
            faults.insert(0, together.pop())
        log(" and ".join(fault.__name__.replace("_", " ") for fault in together))
        failures = []

        def run(fault, failures=failures):
            try:
                fault()
            except BaseException as error:  # noqa: BLE001
                failures.append(error)

        threads = [threading.Thread(target=run, args=(fault,)) for fault in together]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures
        time.sleep(chance.uniform(0.2, 2))


def is_at_rest(world):
    query = "SELECT count(*) FROM payouts_payout WHERE deleted_at IS NULL AND status IN ('NEW', 'PROCESSING')"
    return world.postgres.rows(query) == [(0,)]


def read_histories(world):
    """The changes of each payout: its new status, who made the change, the new values and the operation."""
    histories = defaultdict(list)
    query = "SELECT payout_id, changed_by, changes, operation FROM payouts_payoutchange ORDER BY id"
    for payout, changed_by, changes, operation in world.postgres.rows(query):
        histories[str(payout)].append((changes.get("status"), changed_by.split()[0], changes, operation))
    return histories


def is_payment(change):
    status, by, *_ = change
    return status == "COMPLETED" and by in ("worker", "recovery")


def assert_legal(history):
    status = None
    for new, _by, changes, operation in history:
        if operation == "INSERT":
            assert (status, new) == (None, "NEW"), history
        elif changes.keys() & {"amount", "currency", "recipient_details", "user_id"}:
            assert status == "NEW" or (status, new) == ("FAILED", "NEW"), history
        if operation != "INSERT" and new:
            assert (status, new) in LEGAL_MOVES, history
        status = new or status


def check_for_leaks(world):
    service = world.service
    lines = service.output().splitlines()
    metrics = call("GET", f"{service.base}/metrics").body.decode()
    secrets = [service.environment[name] for name in ("SECRET_KEY", "PAYOUT_GATEWAY_TOKEN")]
    for secret in (CARD["number"], REFUSED_CARD["number"], *secrets):
        assert not [text for text in (*lines, metrics) if secret in text]
    json_lines = sum(line.startswith("{") for line in lines)
    return f"no card number and no secret in {len(lines)} lines of the log, {json_lines} of them JSON"


def run_clients_while_things_break(world, log):
    """Returns the clients, and the census before the first fault."""
    ending = threading.Event()
    clients = [Client(world, SEED + number, ending) for number in range(CLIENT_COUNT)]
    for client in clients:
        client.start()
    try:
        wait_until(lambda: world.service.output().count(" ready.") == 2)
        time.sleep(5)
        census_before = census(world)
        break_things(world, random.Random(SEED), log)
    finally:
        ending.set()
        for client in clients:
            client.join()
    return clients, census_before


def assert_nothing_leaks(world, before, after):
    for name, number in before.items():
        # Each thread of the API opens up to two connections to Redis, and may have opened none before.
        spare = 40 if name.endswith("MB") else 16 if "Redis" in name else 8
        most = MOST_CONNECTIONS if "PostgreSQL" in name else number + spare
        assert after[name] <= most, name


def test_nothing_is_lost_paid_twice_or_stuck(world):
    start = time.monotonic()

    def log(text):
        print(f"{time.monotonic() - start:6.1f} s  {text}", flush=True)

    log(f"seed {SEED}")
    clients, census_before = run_clients_while_things_break(world, log)
    log("everything works again")
    wait_until(lambda: is_at_rest(world), REST_SECONDS)
    log("everything is at rest")
    time.sleep(2)
    census_after = census(world)

    payouts = {
        str(pk): (f"{status}, deleted" if deleted else status, f"{amount}", submission)
        for pk, status, deleted, amount, submission in world.postgres.rows(
            "SELECT id, status, deleted_at, amount, submission FROM payouts_payout"
        )
    }
    accepted = {pk for client in clients for pk in client.accepted}
    by_key = {key: ids for client in clients for key, ids in client.by_key.items()}
    answers = sum((client.answers for client in clients), Counter())
    payments: Counter[tuple[str, str]] = Counter()
    for entry in world.gateway.ledger():
        payments[entry["payout"], entry["amount"]] += entry["paid"]
    histories = read_histories(world)
    by_worker = {pk for pk, history in histories.items() if any(is_payment(change) for change in history)}

    assert accepted <= payouts.keys()
    assert all(len(ids) == 1 and ids <= payouts.keys() for ids in by_key.values())
    log(f"1. {len(accepted)} payouts with a 201, and {len(by_key)} by key, are all there; {len(payouts)} in all")
    paid = +payments
    assert paid == Counter((pk, payouts[pk][1]) for pk in by_worker)
    log(f"2. {len(paid)} payments, one with its amount for each payout that a worker completed, none for another")
    assert is_at_rest(world)
    log(f"3. nothing waits: {dict(Counter(status for status, *_ in payouts.values()))}")
    for history in histories.values():
        assert_legal(history)
    assert histories.keys() == payouts.keys()
    sent_back = sum(submission - 1 for *_, submission in payouts.values())
    log(f"4. {sum(map(len, histories.values()))} changes, all legal; {sent_back} sent back")
    log(f"5. before {census_before}")
    log(f"   after  {census_after}")
    assert_nothing_leaks(world, census_before, census_after)
    assert answers.keys() - {"none"} <= EXPECTED_ANSWERS, answers
    log(f"6. {check_for_leaks(world)}")
    log(f"answers: {dict(answers)}")
    log("held")
