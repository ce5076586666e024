"""This service beside its peers: rounds that take turns, medians, and ratios of what was measured in the same round."""

import time
from argparse import Namespace
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import psycopg

from benchmarks import chart, rows, wal
from benchmarks.machine import describe
from benchmarks.peers import COMMANDS, Peer, cpu, resident
from tests.acceptance.service import Database, Service, call, wait_until

ROWS = 20_000
# How many messages wait for a worker: some seconds of work.
BACKLOGS = {"tutorial": 400, "FastAPI": 600, "Django Ninja": 1000, "no work": 10_000}
HERE = Path(__file__).parent
LISTS = {
    "first page": "",
    "100th page": "hundredth",
    "filtered": "?status=FAILED&currency=USD",
    "searched": "?search=seldom",
}


class Bench:
    def __init__(self, stack: ExitStack, broker: str, folder: Path, names: Iterable[str], *, quick: bool) -> None:
        self.rounds, self.seconds = (1, 0.7) if quick else (3, 1.5)
        template = migrated(stack, broker, folder)
        self.peers = []
        for name in names:
            self.peers.append(Peer(name, template, broker, folder))
            stack.callback(self.peers[-1].close)
        # (what, unit) -> peer -> one value for each round
        self.values: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def note(self, what: str, unit: str, peer: Peer, value: float) -> None:
        self.values[what, unit][peer.name].append(value)

    @property
    def servers(self) -> list[Peer]:
        return [peer for peer in self.peers if peer.api_command]

    def run(self, only: str) -> None:
        parts: list[Callable[[Peer], None]] = [self.post, self.read, self.work, self.wal]
        for number in range(self.rounds):
            # Not always the same one first.
            self.turn = self.peers[number:] + self.peers[:number]
            for peer in self.servers:
                self.note("API: start", "s", peer, peer.start_api())
                peer.load(seconds=0.2)
                self.note("API: memory at rest", "MB", peer, resident(peer.api))
            for part in parts:
                if part.__name__.startswith(only):
                    for peer in self.turn:
                        part(peer)
            for peer in self.servers:
                self.note("API: memory after", "MB", peer, resident(peer.api))
                peer.stop(peer.api)

    def measure(self, what: str, peer: Peer, path: str = "", method: str = "GET", **load: Any) -> Any:
        before = cpu(peer.api)
        result = peer.load(path, method, seconds=self.seconds, **load)
        self.note(what, "CPU ms", peer, 1000 * (cpu(peer.api) - before) / result["count"])
        self.note(what, "per s", peer, result["count"] / result["seconds"])
        return result

    def post(self, peer: Peer) -> None:
        if peer.api_command:
            for clients in (1, 8, 32):
                self.measure(f"POST, {clients} client{'s' * (clients > 1)}", peer, method="POST", clients=clients)
            peer.purge()

    def read(self, peer: Peer) -> None:
        if not peer.api_command:
            return
        one = str(peer.database.rows("SELECT id FROM payouts_payout LIMIT 1")[0][0])
        self.measure("GET one", peer, f"{one}/")
        for name, path in LISTS.items():
            self.measure(f"List, {name}", peer, hundredth(peer) if path == "hundredth" else path)

    def work(self, peer: Peer) -> None:
        peer.purge()
        count = int(BACKLOGS.get(peer.name, 3000) * self.seconds / 1.5)
        peer.prepare(count)
        begun = time.monotonic()
        worker = peer.start(peer.worker_command)
        wait_until(lambda: peer.waiting() < count, 30, peer.log)
        first, used, left = time.monotonic(), cpu(worker), peer.waiting()
        self.note("Worker: start", "s", peer, first - begun)
        wait_until(lambda: peer.waiting() == 0, 120, peer.log)
        self.note("Worker: payouts", "per s", peer, left / (time.monotonic() - first))
        self.note("Worker: payouts", "CPU ms", peer, 1000 * (cpu(worker) - used) / left)
        if peer.api_command:
            wait_until(lambda: peer.unpaid() == 0, 30, peer.log)
            self.pipeline(peer)
        self.note("Worker: memory after", "MB", peer, resident(worker))
        peer.stop(worker)

    def pipeline(self, peer: Peer) -> None:
        both = peer.load(method="POST", seconds=self.seconds * 2)
        wait_until(lambda: peer.unpaid() == 0, 60, peer.log)
        rate = both["count"] / (max(done(peer, both).values()) - min(sent for sent, *_ in both["seen"]))
        self.note("Pipeline: payouts", "per s", peer, rate)
        for name, pace in (("idle", 20), ("half load", rate / 2)):
            result = peer.load(method="POST", seconds=self.seconds * 2, rate=pace)
            wait_until(lambda: peer.unpaid() == 0, 60, peer.log)
            finished = done(peer, result)
            times = [1000 * (finished[key] - sent) for sent, _latency, key in result["seen"]]
            percentiles = quantiles(times, n=100)
            self.note(f"POST to COMPLETED, {name}, p50", "ms", peer, percentiles[49])
            self.note(f"POST to COMPLETED, {name}, p99", "ms", peer, percentiles[98])

    def wal(self, peer: Peer) -> None:
        if peer.api_command:
            for unit, values in wal.measure(peer, self.seconds * 2).items():
                self.values["One payout", unit][peer.name] += values


def done(peer: Peer, result: Any) -> dict[str, float]:
    """When each was COMPLETED: servers and load are on one machine, so one clock tells when it was sent and done."""
    asked = [key for _sent, _latency, key in result["seen"]]
    query = "SELECT id::text, extract(epoch FROM processed_at)::float FROM payouts_payout WHERE id = ANY(%s::uuid[])"
    finished = dict(peer.database.rows(query, asked))
    assert None not in finished.values(), peer.log.read_text()[-3000:]
    return finished


def hundredth(peer: Peer) -> str:
    """By the cursor of those that have one, else as they number their pages."""
    path = ""
    for _page in range(99):
        body = call("GET", peer.url(path)).json()
        following = body.get("next") if isinstance(body, dict) else None
        if following is None:
            return "?offset=4950"
        path = f"?{following.split('?')[1]}"
    return path


def migrated(stack: ExitStack, broker: str, folder: Path, count: int = ROWS) -> str:
    """The database that each peer gets a copy of."""
    database = Database()
    stack.callback(database.drop)
    Service(database, CELERY_BROKER_URL=broker).migrate()
    with psycopg.connect(**database.parameters, dbname=database.name, autocommit=True) as connection:
        connection.execute(rows.DEFAULTS)
        rows.load(connection, count)
        connection.execute("VACUUM ANALYZE")
    return database.name


def table(bench: Bench) -> str:
    names = [peer.name for peer in bench.peers]
    lines = [
        f"{'':<38}" + "".join(f"{name:>14}" for name in names) + f"{'/ tutorial':>12}{'/ bare':>8}{'/ no work':>11}"
    ]
    for (what, unit), by_peer in bench.values.items():
        line = f"{what + ': ' + unit:<38}"
        line += "".join(f"{median(by_peer[name]):14.2f}" if by_peer[name] else f"{'':14}" for name in names)
        ours = by_peer["this service"]
        for width, other in ((12, "tutorial"), (8, "bare"), (11, "no work")):
            ratios = [one / another for one, another in zip(ours, by_peer[other], strict=False) if another]
            line += f"{median(ratios):{width}.2f}" if ratios else " " * width
        lines.append(line.rstrip())
    return "\n".join(lines)


def main(options: Namespace, broker: str, folder: Path) -> None:
    begun = time.monotonic()
    with ExitStack() as stack:
        bench = Bench(stack, broker, folder, options.peer or COMMANDS, quick=options.quick)
        with psycopg.connect(**bench.peers[0].database.parameters, dbname="postgres") as connection:
            machine = describe(connection, broker)
        bench.run(options.only)
        text = f"{machine}\n{bench.rounds} rounds, medians\n\n{table(bench)}\n"
    print(text)
    print(f"{time.monotonic() - begun:.0f} s")
    if not (options.quick or options.only or options.peer):
        (HERE / "results.txt").write_text(text)
        (HERE / "results.svg").write_text(chart.draw(bench.values, machine))
