"""
`make drill`: everything that can die dies several times, alone and together, while clients send payouts.

At the end each intent of a caller must have been paid exactly once, or refused, or settled by hand, by the ledger of
the provider. SEED=… repeats a run, MANNER=… names how the provider behaves, BROKER=redis uses Redis in place of
RabbitMQ.
"""

import os
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.acceptance.service import call, wait_until
from tests.drill import checks, manners
from tests.drill.client import EXPECTED_ANSWERS, Client
from tests.drill.world import World

SEED = int(os.environ.get("SEED") or random.randrange(10**6))
ROUNDS = int(os.environ.get("ROUNDS") or 2)
CLIENT_COUNT = 4
SECRETS = {
    *("SECRET_KEY", "PAYOUT_GATEWAY_TOKEN", "PAYOUT_GATEWAY_NOTIFICATION_TOKEN"),
    *("YOOKASSA_SECRET_KEY", "PAYPAL_CLIENT_SECRET"),
}
REST_SECONDS = 120
# So many callers post so many payouts at once.
BURST = (8, 40)
# One for each thread of two API processes, DB_CONNECTIONS for each of two workers, and one for the drill.
MOST_CONNECTIONS = 2 * 4 + 2 * 8 + 1
# CELERY_CONCURRENCY, and the worker's own. They start when they are needed, so that there are more of them later.
MOST_THREADS = 64 + 12


@pytest.fixture
def world(tmp_path):
    manner = manners.choose(os.environ.get("MANNER", ""), SEED)
    world = World(tmp_path, random.Random(SEED), manner)
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
        if len(together) > 1 and (len(kinds) < 2 or any("hundreds" in fault.__name__ for fault in together)):
            # Both would break the same thing, or one would keep the other from having hundreds in hand.
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


def check_for_leaks(world):
    service = world.service
    lines = service.output().splitlines()
    metrics = call("GET", f"{service.base}/metrics").body.decode()
    secrets = [service.environment[name] for name in SECRETS & service.environment.keys()]
    numbers = [each["number"] for each in (world.manner.recipient, *world.manner.refused) if "number" in each]
    for secret in (*numbers, *secrets):
        assert not [text for text in (*lines, metrics) if secret in text]
    json_lines = sum(line.startswith("{") for line in lines)
    return f"no card number and no secret in {len(lines)} lines of the log, {json_lines} of them JSON"


def post_at_once(crowd):
    def post(client):
        for _ in range(BURST[1]):
            client.post()

    with ThreadPoolExecutor(len(crowd)) as threads:
        list(threads.map(post, crowd))


def run_clients_while_things_break(world, log):
    """Returns the clients, and the census before the first fault."""
    ending = threading.Event()
    clients = [Client(world, SEED + number, ending) for number in range(CLIENT_COUNT + BURST[0])]
    clients, crowd = clients[:CLIENT_COUNT], clients[CLIENT_COUNT:]
    world.burst = lambda: post_at_once(crowd)
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
    return clients + crowd, census_before


def assert_nothing_leaks(world, before, after):
    for name, number in before.items():
        # Each thread of the API opens up to two connections to Redis, and may have opened none before.
        spare = 40 if name.endswith("MB") else 16 if "Redis" in name else 8
        most = MOST_CONNECTIONS if "PostgreSQL" in name else number + spare
        if name.startswith("worker") and name.endswith("threads"):
            most = MOST_THREADS
        assert after[name] <= most, name


def wait_for_rest(world):
    """Waits until nothing is left to do for the service, which looks at COMPLETED payouts once in an hour."""
    end = time.monotonic() + REST_SECONDS
    while rows := checks.unsettled(world):
        assert time.monotonic() < end, rows
        # Like real providers, this one repeats a notification that changed nothing.
        world.notify([row.key for row in rows if row.status == "COMPLETED"])
        time.sleep(2)


def settle_by_ledger(world, rows, ledger):
    """A person asks the provider what became of each payout that waits, and says so."""
    for row in rows.values():
        if row.status == "PROCESSING":
            status = "COMPLETED" if checks.paid(ledger[row.key]) else "FAILED"
            change = {"status": status, "reason": "By its ledger."}
            # A worker may have it in hand for a moment.
            wait_until(
                lambda row=row, change=change: call("PATCH", f"{world.service.payouts}{row.id}/", change).status == 200
            )


def test_nothing_is_lost_paid_twice_or_stuck(world):
    start = time.monotonic()

    def log(text):
        print(f"{time.monotonic() - start:6.1f} s  {text}", flush=True)

    log(f"seed {SEED}, manner {world.manner.name}")
    clients, census_before = run_clients_while_things_break(world, log)
    log("everything works again")
    for client in clients:
        client.repeat_all()
    wait_for_rest(world)
    # Whose money came back is learned from a statement at the latest.
    world.notify([key for key, entries in checks.read_ledger(world).items() if entries[-1]["status"] == "returned"])
    wait_for_rest(world)
    log("everything is at rest")
    time.sleep(2)
    census_after = census(world)

    rows, ledger, histories = checks.read_rows(world), checks.read_ledger(world), checks.read_histories(world)
    orders = [order for client in clients for order in client.orders]
    answers = sum((client.answers for client in clients), Counter())
    lost = checks.check_each_order(world, orders, rows)
    log(f"1. {len(orders)} orders were accepted, {len(rows)} payouts are there")
    log(f"   {world.postgres.failovers} failovers lost {world.lost_changes} changes and {lost} payouts")
    outcomes = checks.outcomes_by_key(histories)
    checks.check_each_outcome(outcomes, rows, ledger)
    others = checks.check_each_payment(world, rows, outcomes, ledger, histories)
    # A failover may have lost that somebody settled a payout as FAILED and sent it back under a new key.
    excused = set().union(*(client.failed_by_hand for client in clients)) if world.postgres.failovers else set()
    intents = checks.check_each_intent(ledger, excused)
    payments = sum(len(checks.paid(entries)) for entries in ledger.values())
    written = Counter(outcome.status for outcome in outcomes.values())
    log(f"2. {payments} payments for {intents} intents, none twice; workers wrote {dict(written)}")
    log(f"   payments that no worker has written: {dict(others)}")
    waiting = [row for row in rows.values() if row.waits_for_person]
    assert not waiting or world.manner.may_wait, waiting
    log(f"3. {len(waiting)} wait for a person; {dict(Counter(row.status for row in rows.values()))}")
    settle_by_ledger(world, rows, ledger)
    assert not checks.unsettled(world)
    for history in checks.read_histories(world).values():
        checks.assert_legal(history)
    assert histories.keys() == rows.keys()
    sent_back = sum(row.submission - 1 for row in rows.values())
    log(f"4. {sum(map(len, histories.values()))} changes, all legal; {sent_back} sent back")
    log(f"5. before {census_before}")
    log(f"   after  {census_after}")
    assert_nothing_leaks(world, census_before, census_after)
    assert answers.keys() - {"none", "400 without a reason"} <= EXPECTED_ANSWERS, answers
    log(f"6. {check_for_leaks(world)}")
    log(f"answers: {dict(answers)}")
    log("held")
