"""One, two and four processes of this service, and how busy the machine is with them: where the ceiling is."""

import time
from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.compare import migrated
from benchmarks.peers import Peer, cpu, resident
from tests.acceptance.service import wait_until

NUMBERS = (1, 2, 4)
BACKLOG = 4000


class Watch:
    """What passes between two looks."""

    def __init__(self) -> None:
        self.begun, self.total, self.idle = time.monotonic(), *self.machine()

    def machine(self) -> tuple[int, int]:
        """Ticks of all cores, and those in which there was nothing to do."""
        ticks = [int(tick) for tick in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return sum(ticks), ticks[3] + ticks[4]

    def stop(self) -> tuple[float, float]:
        """Seconds, and the share of all cores that was busy."""
        total, idle = self.machine()
        return time.monotonic() - self.begun, 1 - (idle - self.idle) / (total - self.total)


def work(peer: Peer, number: int) -> tuple[float, float, float]:
    """Payouts a second, CPU ms of a worker for each, and how busy the machine was."""
    peer.purge()
    peer.prepare(BACKLOG)
    workers = [peer.start(peer.worker_command) for _ in range(number)]
    wait_until(lambda: peer.queue_state().consumer_count == number, 60, peer.log)
    left, used, watch = peer.waiting(), cpu(*workers), Watch()
    wait_until(lambda: peer.waiting() == 0, 120, peer.log)
    (seconds, busy), used = watch.stop(), cpu(*workers) - used
    wait_until(lambda: peer.unpaid() == 0, 60, peer.log)
    for worker in workers:
        peer.stop(worker)
    return left / seconds, 1000 * used / left, busy


def serve(peer: Peer, number: int, seconds: float) -> tuple[float, float, float]:
    """The same for the API's processes and POSTs."""
    peer.start_api(WEB_CONCURRENCY=str(number))
    peer.load(method="POST", seconds=0.5)
    used, watch = cpu(peer.api), Watch()
    result = peer.load(method="POST", clients=16, seconds=seconds)
    used, (_seconds, busy) = cpu(peer.api) - used, watch.stop()
    peer.stop(peer.api)
    peer.purge()
    return result["count"] / result["seconds"], 1000 * used / result["count"], busy


def soak(peer: Peer, count: int) -> str:
    """What the processes keep of so many payouts."""
    peer.start_api()
    worker = peer.start(peer.worker_command)
    peer.load("?page_size=50", seconds=1)
    api_before, worker_before, done = resident(peer.api), resident(worker), 0
    while done < count:
        done += peer.load(method="POST", seconds=5)["count"]
    wait_until(lambda: peer.unpaid() == 0, 300, peer.log)
    memory = (
        f"API {api_before:.0f}, then {resident(peer.api):.0f}; worker {worker_before:.0f}, then {resident(worker):.0f}"
    )
    return f"MB resident, at rest and after {done} payouts: {memory}"


def main(options: Namespace, broker: str, folder: Path) -> None:
    rounds = 1 if options.quick else 3
    found: dict[str, list[tuple[float, float, float]]] = {}
    with ExitStack() as stack:
        peer = Peer("this service", migrated(stack, broker, folder), broker, folder)
        stack.callback(peer.close)
        for _round in range(rounds):
            for number in NUMBERS:
                found.setdefault(f"API, {number} processes: POST", []).append(
                    serve(peer, number, 2 if options.quick else 4)
                )
                found.setdefault(f"Workers, {number}: payouts", []).append(work(peer, number))
        memory = soak(peer, 1000 if options.quick else 20_000)
    print(f"{'':<30}{'per s':>10}{'CPU ms':>10}{'machine busy':>14}")
    for name, values in sorted(found.items()):
        rate, used, busy = (median(column) for column in zip(*values, strict=True))
        print(f"{name:<30}{rate:>10.0f}{used:>10.2f}{busy:>14.0%}")
    print(memory)
