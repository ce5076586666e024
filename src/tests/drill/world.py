"""The service on servers of its own, and the faults that the drill makes."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
from kombu import Connection

from tests.acceptance.service import Gateway, Redis, Service, call, wait_until
from tests.drill.failover import ReplicatedPostgres
from tests.drill.manners import Manner
from tests.gateway.behaviour import MOODS, NOTIFICATION_MOODS
from tests.local import free_port

LEASE, TIMEOUT, INTERVAL = 4, 2, 0.5
SICK_MOODS = tuple(mood for mood in MOODS if mood != "ok")
NOTIFICATION_TOKEN = "known to both"
TAKEN = "SELECT FROM payouts_payout WHERE taken_at IS NOT NULL AND due_at > now()"
# A notification may name so many.
MOST_KEYS = 100


class RabbitMQ:
    def __init__(self, folder: Path) -> None:
        servers = (Path("/usr/lib/rabbitmq/bin/rabbitmq-server"), shutil.which("rabbitmq-server"))
        self.server = next((str(path) for path in servers if path and Path(path).exists()), None)
        assert self.server, "RabbitMQ is not installed here"
        self.folder, self.port = folder, free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        folder.mkdir()
        (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\n")
        (folder / "plugins").write_text("[].")
        self.environment = {
            **os.environ,
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"drill{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": str(folder / "log.txt"),
        }

    def start(self) -> None:
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [str(self.server)], env=self.environment, stdout=output, stderr=output, start_new_session=True
            )
        wait_until(self.is_up, 60)

    def is_up(self) -> bool:
        try:
            with self.connect():
                return True
        except OSError:
            return False

    def connect(self) -> Any:
        connection = Connection(self.url, connect_timeout=2)
        connection.connect()
        return connection

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait()

    def control(self, *arguments: str) -> str:
        command = [str(self.server).replace("rabbitmq-server", "rabbitmqctl"), "-q", *arguments]
        result = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
        return result.stdout

    def fill(self) -> None:
        self.control("set_disk_free_limit", "1000000GB")

    def empty(self) -> None:
        self.control("set_disk_free_limit", "50MB")

    def census(self) -> dict[str, int]:
        return {
            "connections to RabbitMQ": len(self.control("list_connections", "pid").split()) - 1,
            "queues": len(self.control("list_queues", "name").split()) - 1,
        }


class World:
    # By failovers.
    lost_changes = 0
    # Has callers send some hundred payouts as fast as they can.
    burst: Callable[[], None]

    def __init__(self, folder: Path, chance: random.Random, manner: Manner) -> None:
        self.chance, self.manner = chance, manner
        self.postgres = ReplicatedPostgres(folder / "postgres", "-c", "max_connections=200")
        self.broker = Redis() if os.environ.get("BROKER") == "redis" else RabbitMQ(folder / "rabbitmq")
        self.broker.start()
        self.gateway = Gateway()
        self.service = Service(self.postgres)
        self.service.environment |= {
            "CELERY_BROKER_URL": self.broker.url,
            "CELERY_TASK_DEFAULT_QUEUE": "payouts",
            "PAYOUT_GATEWAY": "http",
            **self.gateway.environment(can_look=manner.can_look),
            "PAYOUT_GATEWAY_TOKEN": "known to the gateway",
            "PAYOUT_GATEWAY_NOTIFICATION_TOKEN": NOTIFICATION_TOKEN,
            "PAYOUT_GATEWAY_REMEMBERS": str(manner.remembers),
            "PAYOUT_LEASE": str(LEASE),
            "PAYOUT_GATEWAY_TIMEOUT": str(TIMEOUT),
            "PAYOUT_RECOVERY_INTERVAL": str(INTERVAL),
        }
        self.notification_url = f"{self.service.base}/gateways/http/"
        self.gateway.set(
            manner=manner.gateway,
            token="known to the gateway",
            notification_url=self.notification_url,
            notification_token=NOTIFICATION_TOKEN,
            notification_moods=[*NOTIFICATION_MOODS],
            **manner.behaviour,
        )
        self.service.migrate()
        self.api = self.start_api()
        self.workers = [self.start_worker() for _ in range(2)]
        self.crowded_worker: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        for process in filter(None, (self.api, *self.workers, self.crowded_worker)):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.gateway.close()
        self.broker.kill()
        self.postgres.stop()

    def start(self, script: str, is_up: Callable[[int], bool], **environment: str) -> subprocess.Popen[bytes]:
        """Starts it again and again, as an orchestrator does: without a database it ends at once."""
        process = self.service.start(script, **environment)
        wait_until(lambda: process.poll() is not None or is_up(process.pid))
        return process if process.poll() is None else self.start(script, is_up, **environment)

    def start_api(self) -> subprocess.Popen[bytes]:
        return self.start("entrypoint_http_api.sh", lambda _pid: self.service.is_ready())

    def start_worker(self, **environment: str) -> subprocess.Popen[bytes]:
        # Waits for recovery's threads. Celery handles SIGTERM before it starts them; until then SIGTERM kills Python.
        def is_up(pid: int) -> bool:
            return len([*Path(f"/proc/{pid}/task").iterdir()]) > 2

        return self.start("entrypoint_celery.sh", is_up, **environment)

    def wait_between(self, least: float, most: float) -> None:
        time.sleep(self.chance.uniform(least, most))

    # Each fault begins and ends in one call. After it everything works again.

    def a_worker_is_killed(self) -> None:
        number = self.chance.randrange(2)
        os.killpg(self.workers[number].pid, signal.SIGKILL)
        self.workers[number].wait()
        self.wait_between(0, 2)
        self.workers[number] = self.start_worker()

    def a_worker_is_frozen_past_its_lease(self) -> None:
        worker = self.chance.choice(self.workers)
        os.killpg(worker.pid, signal.SIGSTOP)
        time.sleep(LEASE + 2)
        os.killpg(worker.pid, signal.SIGCONT)

    def a_worker_is_terminated(self) -> None:
        number = self.chance.randrange(2)
        assert self.service.stop(self.workers[number]) == 0
        self.workers[number] = self.start_worker()

    @contextmanager
    def crowd_a_worker(self) -> Iterator[subprocess.Popen[bytes]]:
        """One worker has hundreds of payouts in hand, as the provider takes its time."""
        for worker in self.workers:
            assert self.service.stop(worker) == 0
        self.gateway.set_moods("slow")
        self.burst()
        self.crowded_worker = self.start_worker(CELERY_CONCURRENCY="256")
        try:
            # Something else may be broken, too. Then fewer will have to do.
            with suppress(AssertionError, psycopg.Error):
                wait_until(lambda: len(self.postgres.rows(TAKEN)) >= 200, 5)
            yield self.crowded_worker
        finally:
            self.gateway.set_moods("ok")
            self.crowded_worker = None
            self.workers = [self.start_worker() for _ in range(2)]

    def a_worker_with_hundreds_in_hand_is_terminated(self) -> None:
        with self.crowd_a_worker() as worker:
            assert self.service.stop(worker) == 0

    def a_worker_with_hundreds_in_hand_is_killed(self) -> None:
        with self.crowd_a_worker() as worker:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()

    def a_process_of_the_api_is_killed(self) -> None:
        children = Path(f"/proc/{self.api.pid}/task/{self.api.pid}/children").read_text().split()
        if children:
            os.kill(int(self.chance.choice(children)), signal.SIGKILL)

    def the_api_is_killed(self) -> None:
        os.killpg(self.api.pid, signal.SIGKILL)
        self.api.wait()
        self.api = self.start_api()

    def the_api_is_terminated(self) -> None:
        assert self.service.stop(self.api) == 0
        self.api = self.start_api()

    def the_broker_is_killed(self) -> None:
        self.broker.kill()
        self.wait_between(0, 4)
        self.broker.start()

    def the_broker_is_frozen(self) -> None:
        self.broker.signal(signal.SIGSTOP)
        self.wait_between(2, 6)
        self.broker.signal(signal.SIGCONT)

    def the_broker_is_full(self) -> None:
        self.broker.fill()
        self.wait_between(1, 4)
        self.broker.empty()

    def the_broker_loses_its_queue(self) -> None:
        with self.broker.connect() as connection:
            connection.default_channel.queue_delete("payouts")

    def the_database_drops_its_connections(self) -> None:
        others = "FROM pg_stat_activity WHERE datname = 'payouts' AND pid <> pg_backend_pid()"
        self.postgres.rows(f"SELECT pg_terminate_backend(pid) {others}")

    def the_database_refuses_connections(self) -> None:
        url = f"postgresql://postgres@127.0.0.1:{self.postgres.port}/postgres"
        with psycopg.connect(url, autocommit=True) as maintenance:
            maintenance.execute("ALTER DATABASE payouts ALLOW_CONNECTIONS false")
            maintenance.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'payouts'")
            time.sleep(10)
            maintenance.execute("ALTER DATABASE payouts ALLOW_CONNECTIONS true")

    def the_database_restarts(self) -> None:
        self.postgres.stop()
        self.wait_between(0, 4)
        self.postgres.start()

    def the_database_crashes(self) -> None:
        self.postgres.crash()
        self.wait_between(0, 4)
        self.postgres.start()

    def the_database_fails_over(self) -> None:
        self.lost_changes += self.postgres.fail_over(least=self.chance.randrange(1, 20))

    def the_gateway_misbehaves(self) -> None:
        self.gateway.set_moods("ok", *self.chance.sample(SICK_MOODS, 5))
        self.wait_between(3, 6)
        self.gateway.set_moods("ok")

    def notify(self, keys: list[str]) -> None:
        """The provider repeats its notifications, or a statement names these payments."""
        token = {"Authorization": f"Bearer {NOTIFICATION_TOKEN}"}
        for start in range(0, len(keys), MOST_KEYS):
            answer = call("POST", self.notification_url, {"keys": keys[start : start + MOST_KEYS]}, **token)
            assert answer.status == 200, answer
            time.sleep(0.1)

    def faults(self) -> list[Callable[[], None]]:
        """All faults. The second word of a name is the thing that breaks: a thing has one fault at a time."""
        return [
            self.a_worker_is_killed,
            self.a_worker_is_frozen_past_its_lease,
            self.a_worker_is_terminated,
            self.a_worker_with_hundreds_in_hand_is_killed,
            self.a_worker_with_hundreds_in_hand_is_terminated,
            self.a_process_of_the_api_is_killed,
            self.the_api_is_killed,
            self.the_api_is_terminated,
            self.the_broker_is_killed,
            self.the_broker_is_frozen,
            self.the_broker_is_full,
            self.the_broker_loses_its_queue,
            self.the_database_drops_its_connections,
            self.the_database_refuses_connections,
            self.the_database_restarts,
            self.the_database_crashes,
            *([self.the_database_fails_over] if self.manner.may_fail_over else []),
            self.the_gateway_misbehaves,
            self.the_gateway_misbehaves,
        ]
