"""Many at once: clients that do legal and illegal things to the same payouts, and the largest inputs."""

import json
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

from payouts import machine
from payouts.details import DETAILS_MAX_BYTES
from payouts.gateways.sandbox import REFUSED_NUMBER
from payouts.machine import Status
from tests.acceptance.service import call
from tests.budget import CROWD_SECONDS, SEED
from tests.make import REQUEST

CLIENTS, PAYOUTS = 32, 20
LEGAL = {(row.source, row.target) for row in machine.TRANSITIONS if row.source != row.target}
# Most are refused, and may be sent back.
CARDS = ({"number": "4111111111111111"}, *[{"number": REFUSED_NUMBER}] * 5)
FIRST = "SELECT changes->>'status' FROM payouts_payoutchange WHERE payout_id = %s AND changes ? 'status' ORDER BY id"


def act(chance):
    """A method with what it sends: some of it is never allowed, most of it sometimes."""
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


def test_a_crowd_does_everything_to_the_same_payouts(service):
    payouts = [service.post(recipient_details=CARDS[number % len(CARDS)])["id"] for number in range(PAYOUTS)]
    until = time.monotonic() + CROWD_SECONDS

    def client(number):
        chance, answers = random.Random(f"{SEED} {number}"), Counter()
        while time.monotonic() < until:
            identifier = chance.choice(payouts)
            method, body = act(chance)
            answers[call(method, f"{service.payouts}{identifier}/", body).status] += 1
            if chance.random() < 0.1:
                service.ring(identifier)
        return answers

    with ThreadPoolExecutor(CLIENTS) as crowd:
        answers = sum(crowd.map(client, range(CLIENTS)), Counter())
    print(dict(answers))
    assert answers.keys() <= {200, 204, 400, 404, 405, 409}
    for identifier in payouts:
        statuses = [row[0] for row in service.database.rows(FIRST, identifier)]
        assert statuses[0] == "NEW"
        assert set(pairwise(statuses)) <= LEGAL
    assert "deadlock" not in service.output()


def memory(process):
    """Of the process and its children, in KiB; what they share is counted in parts."""
    processes = [process.pid]
    for pid in processes:
        processes += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    lines = (line for pid in processes for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def largest(number):
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


def test_the_largest_inputs_100_at_once_take_no_memory_for_good(own_service):
    api = own_service.start_api()

    def send(number):
        method, path, body = largest(number)
        return call(method, own_service.payouts + path, body and body.encode()).status

    # At rest is a service that has answered each kind once.
    for number in range(11):
        send(number)
    rest, most, ended = memory(api), [0], threading.Event()

    def watch():
        while not ended.wait(0.05):
            most[0] = max(most[0], memory(api))

    with ThreadPoolExecutor(101) as crowd:
        crowd.submit(watch)
        answers = Counter(crowd.map(send, range(100 * max(1, CROWD_SECONDS // 10))))
        ended.set()
    print(f"{rest} KiB at rest, {most[0]} at most; {dict(answers)}")
    assert answers.keys() <= {200, 201, 400, 413}
    assert most[0] < 2 * rest
