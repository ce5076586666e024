"""
`make drill`: everything that can die dies, several times, alone and together, while payouts are asked for.

At the end each accepted payout must have been paid exactly once, or refused, or settled by hand. SEED=… repeats a run,
and BROKER=redis holds it with Redis in place of RabbitMQ.
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

from payouts import machine
from tests.acceptance.service import Answer, call, wait_until
from tests.drill.world import World

SEED = int(os.environ.get("SEED") or random.randrange(10**6))
ROUNDS = int(os.environ.get("ROUNDS") or 2)
CLIENTS = 4
PAUSE = 0.05
REST_SECONDS = 120
# One for each thread of two API processes and of two workers, and the one that asks.
MOST_CONNECTIONS = 2 * 4 + 2 * 12 + 1
EXPECTED = {200, 201, 204, 404, 409, 410, 503}
LEGAL = {(row.source, row.target) for row in machine.TRANSITIONS if row.source != row.target}
CARD = {"number": "4111111111111111"}
REFUSED_CARD = {"number": "4000000000000002"}


class Client(threading.Thread):
    """Asks for payouts, and cancels, settles, corrects, deletes and sends back some."""

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
        """Asks again by the key until there is an answer, and sometimes when there was one."""
        key, request, asked = uuid4().hex, self.request(), 0
        while not self.ending.is_set():
            answer = self.call("POST", "", request, **{"Idempotency-Key": key})
            asked += 1
            if answer and answer.status in (200, 201):
                self.by_key[key].add(answer.json()["id"])
                if asked > 1 or self.chance.random() < 0.7:
                    return
            time.sleep(PAUSE)

    def some(self, status: str) -> str | None:
        page = self.call("GET", f"?page_size=20&status={status}")
        found = page.json()["results"] if page and page.status == 200 else []
        return f"{self.chance.choice(found)['id']}/" if found else None

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
        if one := self.some(self.chance.choice(["NEW", "NEW", "NEW", "PROCESSING", "COMPLETED"])):
            self.call("PATCH", one, change)

    def delete(self) -> None:
        if one := self.some(self.chance.choice(["NEW", "COMPLETED", "PROCESSING"])):
            self.call("DELETE", one)

    def send_back(self) -> None:
        if one := self.some("FAILED"):
            self.call("PATCH", one, {"status": "NEW", "recipient_details": CARD})

    def ring_twice(self) -> None:
        """Every message may be delivered twice."""
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
    """What would grow if something leaked."""
    resident = {}
    for name, process in (("api", world.api), ("worker 1", world.workers[0]), ("worker 2", world.workers[1])):
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        status = dict(line.split(":", 1) for line in lines)
        resident[f"{name}: MB"] = int(status["VmRSS"].split()[0]) // 1024
        resident[f"{name}: threads"] = int(status["Threads"])
    connections = world.ground.rows("SELECT count(*) FROM pg_stat_activity WHERE datname = 'payouts'")
    return resident | {"connections to PostgreSQL": connections[0][0], **world.broker.census()}


def break_things(world, chance, log):
    faults = world.faults() * ROUNDS
    chance.shuffle(faults)
    while faults:
        together = [faults.pop() for _ in range(min(len(faults), chance.choice([1, 1, 2])))]
        kinds = {fault.__name__.split("_")[1] for fault in together}
        if len(kinds) < len(together):
            # One thing is not broken in two ways at once.
            faults.insert(0, together.pop())
        log(" and ".join(fault.__name__.replace("_", " ") for fault in together))
        failures = []

        def run(fault, failures=failures):
            try:
                fault()
            except BaseException as error:  # noqa: BLE001
                failures.append(error)

        running = [threading.Thread(target=run, args=(fault,)) for fault in together]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        assert not failures, failures
        time.sleep(chance.uniform(0.2, 2))


def at_rest(world):
    waiting = "SELECT count(*) FROM payouts_payout WHERE deleted_at IS NULL AND status IN ('NEW', 'PROCESSING')"
    return world.ground.rows(waiting) == [(0,)]


def histories(world):
    """The statuses that each payout went through, and who brought it into each."""
    lives = defaultdict(list)
    query = "SELECT payout_id, changed_by, changes, operation FROM payouts_payoutchange ORDER BY id"
    for payout, changed_by, changes, operation in world.ground.rows(query):
        lives[str(payout)].append((changes.get("status"), changed_by.split()[0], changes, operation))
    return lives


def completed_by_worker(change):
    status, by, *_ = change
    return status == "COMPLETED" and by in ("worker", "recovery")


def assert_legal(life):
    status = None
    for new, _by, changes, operation in life:
        if operation == "INSERT":
            assert (status, new) == (None, "NEW"), life
        elif changes.keys() & {"amount", "currency", "recipient_details", "user_id"}:
            assert status == "NEW" or (status, new) == ("FAILED", "NEW"), life
        if operation != "INSERT" and new:
            assert (status, new) in LEGAL, life
        status = new or status


def leaks(world):
    service = world.service
    lines = service.output().splitlines()
    metrics = call("GET", f"{service.base}/metrics").body.decode()
    secrets = [service.environment[name] for name in ("SECRET_KEY", "PAYOUT_GATEWAY_TOKEN")]
    for secret in (CARD["number"], REFUSED_CARD["number"], *secrets):
        assert not [text for text in (*lines, metrics) if secret in text]
    written = sum(line.startswith("{") for line in lines)
    return f"no card number and no secret in {len(lines)} lines of the log, {written} of them JSON"


def test_nothing_is_lost_paid_twice_or_stuck(world):
    began = time.monotonic()

    def log(text):
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    log(f"seed {SEED}")
    ending = threading.Event()
    clients = [Client(world, SEED + number, ending) for number in range(CLIENTS)]
    world_before: dict[str, int] = {}
    for client in clients:
        client.start()
    try:
        wait_until(lambda: world.service.output().count(" ready.") == 2)
        time.sleep(5)
        world_before = census(world)
        break_things(world, random.Random(SEED), log)
    finally:
        ending.set()
        for client in clients:
            client.join()
    log("everything is well again")
    wait_until(lambda: at_rest(world), REST_SECONDS)
    log("everything is at rest")
    time.sleep(2)
    world_after = census(world)

    rows = {
        str(key): (f"{status}, deleted" if deleted else status, f"{amount}", submission)
        for key, status, deleted, amount, submission in world.ground.rows(
            "SELECT id, status, deleted_at, amount, submission FROM payouts_payout"
        )
    }
    accepted = {key for client in clients for key in client.accepted}
    by_key = {key: ids for client in clients for key, ids in client.by_key.items()}
    answers = sum((client.answers for client in clients), Counter())
    payments: Counter[tuple[str, str]] = Counter()
    for entry in world.gateway.ledger():
        payments[entry["payout"], entry["amount"]] += entry["paid"]
    lives = histories(world)
    by_worker = {key for key, life in lives.items() if any(completed_by_worker(change) for change in life)}

    assert accepted <= rows.keys()
    assert all(len(ids) == 1 and ids <= rows.keys() for ids in by_key.values())
    log(f"1. {len(accepted)} payouts with a 201, and {len(by_key)} by key, are all there; {len(rows)} in all")
    paid = +payments
    assert paid == Counter((key, rows[key][1]) for key in by_worker)
    log(f"2. {len(paid)} payments, one with its amount for each payout that a worker completed, none for another")
    assert at_rest(world)
    log(f"3. nothing waits: {dict(Counter(status for status, *_ in rows.values()))}")
    for life in lives.values():
        assert_legal(life)
    assert lives.keys() == rows.keys()
    log(f"4. {sum(map(len, lives.values()))} changes, all legal; {sum(s - 1 for *_, s in rows.values())} sent back")
    log(f"5. before {world_before}")
    log(f"   after  {world_after}")
    for name, before in world_before.items():
        # Each thread of the API has one or two connections to Redis, or none yet.
        spare = 40 if name.endswith("MB") else 16 if "Redis" in name else 8
        most = MOST_CONNECTIONS if "PostgreSQL" in name else before + spare
        assert world_after[name] <= most, name
    assert answers.keys() - {"none"} <= EXPECTED, answers
    log(f"6. {leaks(world)}")
    log(f"answers: {dict(answers)}")
    log("held")
