"""Many clients at once: they do anything to the same payouts, and send the largest inputs."""

import json
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

from payouts.details import DETAILS_MAX_BYTES
from payouts.gateways.sandbox import REFUSED_NUMBER
from payouts.machine import Status
from tests.acceptance.service import call
from tests.budget import CROWD_SECONDS, SEED
from tests.make import LEGAL_MOVES, REQUEST

CLIENT_COUNT, PAYOUT_COUNT = 32, 20
# The sandbox refuses most of them, so that clients may send them back.
CARDS = ({"number": "4111111111111111"}, *[{"number": REFUSED_NUMBER}] * 5)
STATUS_QUERY = (
    "SELECT changes->>'status' FROM payouts_payoutchange WHERE payout_id = %s AND changes ? 'status' ORDER BY id"
)


def random_request(chance):
    """A method and a body. Some are never allowed, most are allowed sometimes."""
    return chance.choice(
        [
            ("GET", None),
            ("DELETE", None) if chance.random() < 0.02 else ("GET", None),
            ("PATCH", {"comment": str(chance.random())}),
            ("PATCH", {"amount": f"{chance.randint(1, 99)}.00"}),
            ("PATCH", {"status": chance.choice(list(Status))}),
            ("PATCH", {"status": "NEW", "recipient_details": chance.choice(CARDS)}),
            ("PATCH", {"status": "NEW"}),
            ("PATCH", {"amount": "-1"}),
            ("PUT", {**REQUEST, "status": chance.choice(list(Status))}),
            ("POST", {"status": "NEW"}),
        ]
    )


def test_a_crowd_changes_the_same_payouts_by_legal_moves_only(service):
    payouts = [service.post(recipient_details=CARDS[number % len(CARDS)])["id"] for number in range(PAYOUT_COUNT)]
    end = time.monotonic() + CROWD_SECONDS

    def client(number):
        chance, answers = random.Random(f"{SEED} {number}"), Counter()
        while time.monotonic() < end:
            identifier = chance.choice(payouts)
            method, body = random_request(chance)
            answers[call(method, f"{service.payouts}{identifier}/", body).status] += 1
            if chance.random() < 0.1:
                service.ring(identifier)
        return answers

    with ThreadPoolExecutor(CLIENT_COUNT) as crowd:
        answers = sum(crowd.map(client, range(CLIENT_COUNT)), Counter())
    print(dict(answers))
    assert answers.keys() <= {200, 204, 400, 404, 405, 409}
    for identifier in payouts:
        statuses = [row[0] for row in service.database.rows(STATUS_QUERY, identifier)]
        assert statuses[0] == "NEW"
        assert set(pairwise(statuses)) <= LEGAL_MOVES
    assert "deadlock" not in service.output()


def memory(process):
    """The memory of the process and its children, in KiB. Shared pages count in parts."""
    processes = [process.pid]
    for pid in processes:
        processes += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    lines = (line for pid in processes for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def largest_request(number):
    details = [
        {"x": "я" * (DETAILS_MAX_BYTES // 2 - 10)},
        {"x": "a" * 60_000},
        {str(key): key for key in range(5000)},
        {"x": [1e300] * 9000},
        {"x": 10**4200},
    ][number % 5]
    text = ["💸" * 1000, "a" * 60_000, "\\" * 30_000][number % 3]
    return [
        ("POST", "", json.dumps({**REQUEST, "recipient_details": details, "comment": text[:1000]})),
        ("POST", "", json.dumps({**REQUEST, "comment": text})),
        ("POST", "", "[" * 60_000),
        ("POST", "", "[" * 30_000 + "]" * 30_000),
        ("POST", "", "{" + ",".join(f'"{key}":1' for key in range(6000)) + "}"),
        ("POST", "", json.dumps({**REQUEST, "amount": "9" * 60_000})),
        ("POST", "", " " * 5_000_000),
        ("GET", "?page_size=100&ordering=amount", None),
        ("GET", "?search=" + "x" * 3900, None),
        ("GET", "?" + "status=NEW&" * 350, None),
        ("GET", "?cursor=" + "x" * 3900, None),
    ][number % 11]


def test_100_of_the_largest_inputs_at_once_leak_no_memory(own_service):
    api = own_service.start_api()

    def send(number):
        method, path, body = largest_request(number)
        return call(method, own_service.payouts + path, body and body.encode()).status

    # The service has its normal size after it has answered each kind once.
    for number in range(11):
        send(number)
    normal, peak, ended = memory(api), [0], threading.Event()

    def watch():
        while not ended.wait(0.05):
            peak[0] = max(peak[0], memory(api))

    with ThreadPoolExecutor(101) as crowd:
        crowd.submit(watch)
        answers = Counter(crowd.map(send, range(100 * max(1, CROWD_SECONDS // 10))))
        ended.set()
    print(f"{normal} KiB before, {peak[0]} at the peak; {dict(answers)}")
    assert answers.keys() <= {200, 201, 400, 413}
    assert peak[0] < 2 * normal
