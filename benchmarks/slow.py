"""A provider that takes 0.3 s: how many payouts a worker pays, and what it takes for that, by calls in flight."""

import subprocess
import sys
import time
from argparse import Namespace
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.compare import migrated
from benchmarks.peers import Peer, cpu, resident
from benchmarks.rows import insert_new
from tests.acceptance.service import NO_BROKER, wait_until
from tests.local import ROOT, free_port

SECONDS = 0.3
IN_FLIGHT = (4, 64, 256, 512)
# Whoever waits for that long is not measured any further.
LONGEST_SECONDS = 20
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
# No payout is due before it is created.
WAIT_SINCE_LONG_AGO = """
UPDATE payouts_payout SET created_at = now() - interval '1 hour', due_at = now() - interval '1 hour'
 WHERE status = 'NEW' RETURNING 1"""
PAID = "SELECT count(*) FROM payouts_payout WHERE status = 'COMPLETED' AND attempt > 0"

type Cell = tuple[float, float, float, float]


def start_worker(peer: Peer, url: str, in_flight: int, *, broker: bool) -> subprocess.Popen[bytes]:
    settings = {
        "PROVIDER_URL": url,
        "PAYOUT_GATEWAY": "http",
        "PAYOUT_GATEWAY_URL": url,
        "PAYOUT_GATEWAY_LOOKUP_URL": f"{url}?key={{key}}",
        "CELERY_CONCURRENCY": str(in_flight),
        "DB_CONNECTIONS": "8",
    }
    if not broker:
        settings |= {"CELERY_BROKER_URL": NO_BROKER, "PAYOUT_RECOVERY_INTERVAL": "1"}
    return peer.start(peer.worker_command.replace("--concurrency=4", f"--concurrency={in_flight}"), **settings)


def measure(peer: Peer, url: str, in_flight: int, *, broker: bool, seconds: float) -> Cell:
    """Payouts a second, CPU ms of the worker for each, its MB, and its connections to PostgreSQL."""
    count = int(min(in_flight / SECONDS, 1500) * seconds)
    peer.purge()
    before = peer.database.rows(PAID)[0][0]
    if broker:
        peer.prepare(count)
    else:
        insert_new(peer.database, count)
        peer.database.rows(WAIT_SINCE_LONG_AGO)

    with peer.database.connect() as observer:

        def look(query: str) -> int:
            """On a connection of its own: a peer may leave PostgreSQL none."""
            return int(observer.execute(query).fetchall()[0][0])

        worker = start_worker(peer, url, in_flight, broker=broker)
        wait_until(lambda: look(PAID) > before, 60, peer.log)
        begun, used, first = time.monotonic(), cpu(worker), look(PAID)
        most, connections, done = 0.0, 0, first
        while done < before + count and time.monotonic() < begun + LONGEST_SECONDS:
            time.sleep(0.1)
            done, most = look(PAID), max(most, resident(worker))
            connections = max(connections, look(CONNECTIONS))
        rate = (done - first) / (time.monotonic() - begun)
        each = 1000 * (cpu(worker) - used) / max(1, done - first)
        peer.stop(worker)
        wait_until(lambda: look(CONNECTIONS) == 0, 60, peer.log)
    return rate, each, most, connections


def main(options: Namespace, broker: str, folder: Path) -> None:
    rounds, seconds = (1, 3) if options.quick else (3, 6)
    cells: dict[tuple[str, bool, int], list[Cell]] = defaultdict(list)
    with ExitStack() as stack:
        port = free_port()
        provider = subprocess.Popen([sys.executable, "-m", "benchmarks.provider", str(port), str(SECONDS)], cwd=ROOT)
        stack.callback(provider.kill)
        template = migrated(stack, broker, folder, 1000)
        peers = [Peer(name, template, broker, folder) for name in ("this service", "tutorial", "asyncio")]
        for peer in peers:
            stack.callback(peer.close)
        for _round in range(rounds):
            for in_flight in IN_FLIGHT:
                for peer in peers:
                    # Only this service pays without a broker.
                    for has_broker in (True, False) if peer is peers[0] else (True,):
                        cell = measure(peer, f"http://127.0.0.1:{port}/", in_flight, broker=has_broker, seconds=seconds)
                        cells[peer.name, has_broker, in_flight].append(cell)
    print(f"{'':<28}{'in flight':>10}{'per s':>10}{'CPU ms':>10}{'MB':>8}{'connections':>13}")
    for (name, has_broker, in_flight), values in cells.items():
        rate, each, most, connections = (median(column) for column in zip(*values, strict=True))
        label = name if has_broker else f"{name}, no broker"
        print(f"{label:<28}{in_flight:>10}{rate:>10.0f}{each:>10.2f}{most:>8.0f}{connections:>13.0f}")
