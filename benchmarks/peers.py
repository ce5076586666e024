"""
This service and what people would write instead: how each is started, rung and looked at.

Each has one process for its API and one for its worker, with four threads (FastAPI: one loop), and a database of
its own with the same table, trigger and rows. Each writes an access log; only this service also counts for Prometheus
and writes lines of what it pays, as it is deployed.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from kombu import Connection, Queue

from benchmarks.rows import insert_new
from tests.acceptance.service import Database, call, wait_until
from tests.local import ROOT, free_port

GUNICORN = "gunicorn --workers 1 --threads 4 --no-control-socket --worker-tmp-dir /dev/shm --bind 127.0.0.1:{port}"
GUNICORN += " --access-logfile -"
CELERY = "celery -A benchmarks.{name} worker --pool=threads --concurrency=4 --loglevel=info"
CELERY += " --without-gossip --without-mingle --without-heartbeat"
UVICORN = "uvicorn --port {port} benchmarks.fastapi.api:app"
# How the API and the worker of each are started, and what its task is called.
COMMANDS = {
    "this service": (f"{ROOT}/entrypoint_http_api.sh", f"{ROOT}/entrypoint_celery.sh", "payouts.process"),
    "tutorial": (f"{GUNICORN} benchmarks.tutorial.wsgi", CELERY.format(name="tutorial"), "tutorial.process"),
    "Django Ninja": (f"{GUNICORN} benchmarks.ninja.wsgi", CELERY.format(name="ninja.tasks"), "ninja.process"),
    "FastAPI": (UVICORN, CELERY.format(name="fastapi.tasks"), "fastapi.process"),
    "bare": (f"{GUNICORN} benchmarks.bare.api", f"{sys.executable} -m benchmarks.bare.worker", ""),
    "no work": ("", CELERY.format(name="nothing.tasks"), "nothing.process"),
}
# Only where a provider takes its time.
WITHOUT_API = {"asyncio": ("", f"{sys.executable} -m benchmarks.aio.worker", "")}
TICKS = os.sysconf("SC_CLK_TCK")
BODY = json.dumps(
    {
        "amount": "100.50",
        "currency": "RUB",
        "comment": "Salary for November",
        "user_id": 7,
        "recipient_details": {"type": "card", "number": "4111111111111111"},
    }
)


class Peer:
    def __init__(self, name: str, template: str, broker: str, folder: Path) -> None:
        self.name = name
        self.api_command, self.worker_command, self.task = (COMMANDS | WITHOUT_API)[name]
        self.database = Database(template)
        self.port = free_port()
        self.queue = f"bench-{uuid4().hex}"
        self.broker = Connection(broker)
        self.log = folder / f"{self.queue}.log"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.environment = {
            **os.environ,
            "DB_PASSWORD": "",
            **self.database.environment(),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PORT": str(self.port),
            "API_HOST": "127.0.0.1",
            "WEB_CONCURRENCY": "1",
            "CELERY_BROKER_URL": broker,
            "CELERY_TASK_DEFAULT_QUEUE": self.queue,
            # What a backlog measures is the messages, not recovery.
            "PAYOUT_RECOVERY_INTERVAL": "300",
        }
        del self.environment["DJANGO_SETTINGS_MODULE"]
        Queue(self.queue, channel=self.broker.default_channel).declare()

    def start(self, command: str, **environment: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command.format(port=self.port).split(),
                cwd=ROOT,
                env={**self.environment, **environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def start_api(self, **environment: str) -> float:
        """The seconds until it answers."""
        begun = time.monotonic()
        one = str(self.database.rows("SELECT id FROM payouts_payout LIMIT 1")[0][0])
        self.api = self.start(self.api_command, **environment)
        wait_until(lambda: self.api.poll() is not None or self.answers(f"{one}/"), 30, self.log)
        assert self.api.poll() is None, self.log.read_text()
        return time.monotonic() - begun

    def answers(self, path: str) -> bool:
        try:
            return call("GET", self.url(path)).status == 200
        except OSError:
            return False

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1/payouts/{path}"

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """Nothing is in hand, so there is nothing to wait for."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.processes.remove(process)

    def close(self) -> None:
        for process in list(self.processes):
            self.stop(process)
        self.broker.default_channel.queue_delete(self.queue)
        self.broker.release()
        self.database.drop()

    def load(self, path: str = "", method: str = "GET", *, clients: int = 8, seconds: float = 2, **more: Any) -> Any:
        request = (
            f"{method} {self.url(path).removeprefix(f'http://127.0.0.1:{self.port}')} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        )
        if method == "POST":
            request += f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}"
        else:
            request += "\r\n"
        job = {"port": self.port, "request": request, "clients": clients, "seconds": seconds, **more}
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.load"],
            cwd=ROOT,
            input=json.dumps(job),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{self.name}: {done.stderr}\n{self.log.read_text()[-3000:]}"
        result = json.loads(done.stdout)
        expected = "201" if method == "POST" else "200"
        assert result["statuses"].keys() == {expected}, (self.name, result["statuses"], self.log.read_text()[-3000:])
        result["count"] = len(result["seen"])
        return result

    def queue_state(self) -> Any:
        return Queue(self.queue, channel=self.broker.default_channel).queue_declare(passive=True)

    def waiting(self) -> int:
        return self.queue_state().message_count

    def purge(self) -> None:
        """Their messages too: what the POSTs have asked for is not to be paid in another measurement."""
        self.broker.default_channel.queue_purge(self.queue)
        self.database.rows("DELETE FROM payouts_payout WHERE status = 'NEW' RETURNING 1")

    def prepare(self, count: int) -> None:
        """A backlog of NEW payouts, each with its message as Celery's clients write it."""
        identifiers = insert_new(self.database, count)
        producer = self.broker.Producer()
        embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
        for identifier in identifiers:
            headers = {"lang": "py", "task": self.task, "id": identifier, "root_id": identifier}
            producer.publish([[identifier], {}, embed], routing_key=self.queue, headers=headers)
        wait_until(lambda: self.waiting() == count)

    def unpaid(self) -> int:
        return self.database.rows("SELECT count(*) FROM payouts_payout WHERE status IN ('NEW', 'PROCESSING')")[0][0]


def tree(process: subprocess.Popen[bytes]) -> list[int]:
    found = [process.pid]
    for pid in found:
        found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return found


def cpu(*processes: subprocess.Popen[bytes]) -> float:
    """Seconds of CPU that they and their children have used."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for p in processes for pid in tree(p)]
    return sum(int(field[11]) + int(field[12]) for field in fields) / TICKS


def resident(process: subprocess.Popen[bytes]) -> float:
    """Megabytes of the largest of its processes."""
    sizes = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in tree(process)]
    return max(sizes) * os.sysconf("SC_PAGE_SIZE") / 1e6
