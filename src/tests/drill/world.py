"""The service on servers of its own, and the faults that the drill makes."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from config.routes import PROVIDERS
from tests.acceptance.service import Gateway, Redis, Service, call, wait_until
from tests.drill.failover import ReplicatedPostgres
from tests.drill.manners import Manner
from tests.drill.rabbitmq import RabbitMQ
from tests.gateway.behaviour import MOODS, NOTIFICATION_MOODS
from tests.gateway.languages import LANGUAGES

LEASE, TIMEOUT, INTERVAL = 4, 2, 0.5
SICK_MOODS = tuple(mood for mood in MOODS if mood != "ok")
ACCOUNT, GATEWAY_TOKEN, NOTIFICATION_TOKEN = "100500", "known to the gateway", "known to both"
TAKEN = "SELECT FROM payouts_payout WHERE taken_at IS NOT NULL AND due_at > now()"
# So many payouts at least are in the hands of a worker that has hundreds.
CROWD = 150
# A notification may name so many.
MOST_KEYS = 100


def notifications(route: str, keys: list[str]) -> list[dict[str, Any]]:
    match route:
        case "yookassa":
            return [{"object": {"metadata": {"key": key}}} for key in keys]
        case "paypal":
            return [{"resource": {"sender_batch_id": key}} for key in keys]
    return [{"keys": keys[start : start + MOST_KEYS]} for start in range(0, len(keys), MOST_KEYS)]


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
            "PAYOUT_GATEWAY": manner.route,
            **self.gateway_environment(),
            "PAYOUT_LEASE": str(LEASE),
            "PAYOUT_GATEWAY_TIMEOUT": str(TIMEOUT),
            "PAYOUT_RECOVERY_INTERVAL": str(INTERVAL),
        }
        self.notification_url = f"{self.service.base}/gateways/{manner.route}/"
        self.gateway.set(
            manner=manner.gateway,
            token=GATEWAY_TOKEN if manner.route == "http" else f"{ACCOUNT}:{GATEWAY_TOKEN}",
            notification_url=self.notification_url,
            notification_token=NOTIFICATION_TOKEN,
            notification_moods=[*NOTIFICATION_MOODS],
            **manner.behaviour,
        )
        self.service.migrate()
        self.api = self.start_api()
        self.workers = [self.start_worker() for _ in range(2)]
        self.crowded_worker: subprocess.Popen[bytes] | None = None

    def gateway_environment(self) -> dict[str, str]:
        if self.manner.route == "http":
            return {
                **self.gateway.environment(can_look=self.manner.can_look),
                "PAYOUT_GATEWAY_TOKEN": GATEWAY_TOKEN,
                "PAYOUT_GATEWAY_NOTIFICATION_TOKEN": NOTIFICATION_TOKEN,
                "PAYOUT_GATEWAY_REMEMBERS": str(self.manner.remembers),
            }
        _url, account, secret = PROVIDERS[self.manner.route]
        values = {"URL": self.gateway.base, account: ACCOUNT, secret: GATEWAY_TOKEN}
        return {f"{self.manner.route.upper()}_{name}": value for name, value in values.items()}

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
            wait_until(lambda: len(self.postgres.rows(TAKEN)) >= CROWD)
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

    def an_api_process_is_killed(self) -> None:
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
            try:
                time.sleep(10)
            finally:
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
        errors = () if self.manner.route == "http" else LANGUAGES[self.manner.route].ERRORS
        moods = (*SICK_MOODS, *errors)
        self.gateway.set_moods("ok", *self.chance.sample(moods, 5))
        self.wait_between(3, 6)
        self.gateway.set_moods("ok")

    def notify(self, keys: list[str]) -> None:
        """The provider repeats its notifications, or a statement names these payments."""
        # The others are not signed.
        token = {"Authorization": f"Bearer {NOTIFICATION_TOKEN}"} if self.manner.route == "http" else {}
        for body in notifications(self.manner.route, keys):
            answer = call("POST", self.notification_url, body, **token)
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
            self.an_api_process_is_killed,
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
