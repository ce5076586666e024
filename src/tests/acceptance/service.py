"""The service as it is deployed: the three entry points as processes, driven over HTTP."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from uuid import uuid4

import psycopg
from celery import Celery
from django.db import connection
from kombu import Connection
from kombu.exceptions import KombuError

from tests.local import ROOT, free_port, postgres
from tests.servers import BROKER_URL, scratch

BIN = Path(sys.executable).parent
IN_FILES = BROKER_URL.startswith("filesystem")
# The error of a statement may quote the row. With this trigger it does so if the comment names the operation.
QUOTE_THE_CARD = """
CREATE FUNCTION quote_the_card() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.comment = TG_OP THEN RAISE EXCEPTION 'a bad card: %', NEW.recipient_details; END IF; RETURN NEW;
END $$;
CREATE TRIGGER quote_the_card BEFORE INSERT OR UPDATE ON payouts_payout
FOR EACH ROW EXECUTE FUNCTION quote_the_card()
"""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def call(method: str, url: str, body: Any = None, **headers: str) -> Answer:
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = Request(url, data, {"Content-Type": "application/json", **headers}, method=method)
    try:
        with urlopen(request, timeout=20) as answer:
            return Answer(answer.status, dict(answer.headers), answer.read())
    except HTTPError as error:
        with error:
            return Answer(error.code, dict(error.headers), error.read())


def wait_until(condition: Callable[[], Any], seconds: float = 60, log: Path = Path(os.devnull)) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"the condition did not become true in time\n{log.read_text()}"
        time.sleep(0.05)
    return value


def broker_at(port: int) -> str:
    """The URL of another broker: of Redis if the tests use Redis, otherwise of RabbitMQ."""
    return f"redis://127.0.0.1:{port}/0" if BROKER_URL.startswith("redis") else f"amqp://guest:guest@127.0.0.1:{port}//"


NO_BROKER = broker_at(1)
# A lease of four seconds, and a look for due payouts each half second: short enough for a test.
SHORT_TIMES = {"PAYOUT_LEASE": "4", "PAYOUT_GATEWAY_TIMEOUT": "2", "PAYOUT_RECOVERY_INTERVAL": "0.5"}


class Database:
    """A new database on the server of the tests."""

    def __init__(self, template: str = "template1") -> None:
        self.name = f"acceptance_{uuid4().hex}"
        self.parameters = {
            key: value
            for key, value in connection.get_connection_params().items()
            if key in ("host", "port", "user", "password")
        }
        # To copy the files costs a fifth of what a copy through the log costs.
        self._maintain(f"CREATE DATABASE {self.name} TEMPLATE {template} STRATEGY file_copy")

    def _maintain(self, statement: str) -> None:
        with psycopg.connect(**self.parameters, dbname="postgres", autocommit=True) as maintenance:
            maintenance.execute(statement)

    def drop(self) -> None:
        self._maintain(f"DROP DATABASE {self.name} WITH (FORCE)")

    def refuse_connections(self) -> None:
        self._maintain(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS false")
        self.hang_up()

    def accept_connections(self) -> None:
        self._maintain(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS true")

    def hang_up(self) -> None:
        """Ends all connections at once, as a server that stops. Then waits for the end of each."""
        for wait in ("", ", 5000"):
            connections = f"FROM pg_stat_activity WHERE datname = '{self.name}'"
            self._maintain(f"SELECT pg_terminate_backend(pid{wait}) {connections}")

    def set(self, setting: str) -> None:
        """Sets it for each connection that is opened from now on."""
        self._maintain(f"ALTER DATABASE {self.name} SET {setting}")

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(**self.parameters, dbname=self.name, autocommit=True)

    def rows(self, query: str, *parameters: Any) -> list[Any]:
        with self.connect() as reader:
            return reader.execute(query, parameters).fetchall()

    def environment(self) -> dict[str, str]:
        return {
            "DATABASE_URL": "",
            "DB_NAME": self.name,
            **{f"DB_{key.upper()}": str(value) for key, value in self.parameters.items()},
        }


class OwnPostgres:
    """A database on a PostgreSQL of its own, which can be stopped, killed and frozen."""

    name = "payouts"

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.options, self.port = folder, options, free_port()
        self.start()

    def start(self) -> None:
        self.stack = ExitStack()
        self.server = self.stack.enter_context(postgres(self.folder, *self.options, port=self.port))

    def stop(self) -> None:
        self.stack.close()

    @property
    def postmaster(self) -> int:
        return int((self.folder / "postmaster.pid").read_text().split()[0])

    def crash(self) -> None:
        """Loses the commits that did not wait for the disk."""
        os.kill(self.postmaster, signal.SIGQUIT)
        self.stop()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Meanwhile it accepts what clients send, and answers nothing."""
        pid = self.postmaster
        processes = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                os.kill(process, signal.SIGCONT)

    def environment(self) -> dict[str, str]:
        return {"DATABASE_URL": "", **self.server}

    def rows(self, query: str, *parameters: Any) -> list[Any]:
        url = f"postgresql://postgres@127.0.0.1:{self.port}/payouts"
        with psycopg.connect(url, autocommit=True) as connection:
            return connection.execute(query, parameters).fetchall()


class Redis:
    """A server of its own. It asks for a password and stores nothing."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.port = free_port()
        self.url = f"redis{'s' * bool(certificate)}://:known-to-redis@127.0.0.1:{self.port}/1"
        self.tls = {"ssl_ca_certs": str(certificate)} if certificate else False
        self.port_options = f"--port {self.port}"
        if certificate:
            files = f"--tls-cert-file {certificate} --tls-key-file {certificate} --tls-ca-cert-file {certificate}"
            self.port_options = f"--port 0 --tls-port {self.port} --tls-auth-clients no {files}"

    def start(self) -> None:
        options = f"--bind 127.0.0.1 {self.port_options} --requirepass known-to-redis --loglevel warning --save"
        command = ["redis-server", *options.split(), ""]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        wait_until(self.is_up)

    def is_up(self) -> bool:
        try:
            with self.connect():
                return True
        except KombuError:
            return False

    def connect(self) -> Any:
        connection = Connection(self.url, ssl=self.tls, transport_options={"socket_timeout": 2})
        connection.connect()
        return connection

    def fill(self) -> None:
        with self.connect() as connection:
            connection.default_channel.client.config_set("maxmemory", "1")

    def empty(self) -> None:
        with self.connect() as connection:
            connection.default_channel.client.config_set("maxmemory", "0")

    def census(self) -> dict[str, int]:
        with self.connect() as connection:
            client = connection.default_channel.client
            return {"connections to Redis": client.info()["connected_clients"], "keys": client.dbsize()}

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Gateway:
    """The reference gateway as a process."""

    def __init__(self, *certificate: str) -> None:
        self.port, self.certificate = free_port(), certificate
        self.base = f"http{'s' * bool(certificate)}://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-m", "tests.gateway", str(self.port), *self.certificate])
        wait_until(self.is_up)

    def is_up(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except OSError:
            return False
        return True

    def environment(self, name: str = "", *, can_look: bool = False) -> dict[str, str]:
        """The settings of a route that leads here."""
        lookup_url = f"{self.base}/payments?key={{key}}" if can_look else ""
        own = f"{name.upper()}_" if name else ""
        return {f"PAYOUT_GATEWAY_{own}URL": f"{self.base}/payments", f"PAYOUT_GATEWAY_{own}LOOKUP_URL": lookup_url}

    def set(self, **behaviour: Any) -> None:
        """`tests.gateway.behaviour` says what can be set."""
        answer = call("PUT", f"{self.base}/behaviour", behaviour)
        assert answer.status == 200, answer

    def set_moods(self, *moods: str) -> None:
        self.set(moods=moods)

    def ledger(self) -> list[dict[str, Any]]:
        return call("GET", f"{self.base}/ledger").json()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Meanwhile it accepts connections, and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


class Service:
    """The processes of one deployment, with the settings, the queue and the log that they share."""

    def __init__(self, database: Any, root: Path = ROOT, **environment: str) -> None:
        self.database = database
        self.root = root
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.payouts = f"{self.base}/api/v1/payouts/"
        self.queue = f"acceptance-{uuid4().hex}"
        self.environment = {
            **os.environ,
            **database.environment(),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PYTHONPATH": str(root / "src"),
            "PORT": str(self.port),
            "API_HOST": "127.0.0.1",
            "CELERY_BROKER_URL": BROKER_URL,
            "CELERY_TASK_DEFAULT_QUEUE": self.queue,
            "PYTHONWARNINGS": "ignore",
            "METRICS_FOLDER": str(scratch / f"{self.queue}-metrics"),
            **environment,
        }
        self.processes: list[subprocess.Popen[bytes]] = []
        self.log = scratch / f"{self.queue}.log"

    def start(self, script: str, **environment: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [self.root / script],
                cwd="/",
                env={**self.environment, **environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def migrate(self) -> None:
        assert self.start("entrypoint_migrations.sh").wait(60) == 0, self.output()

    def start_api(self, **environment: str) -> subprocess.Popen[bytes]:
        api = self.start("entrypoint_http_api.sh", **environment)
        wait_until(lambda: api.poll() is not None or self.is_ready())
        assert api.poll() is None, self.output()
        return api

    def start_worker(self, **environment: str) -> subprocess.Popen[bytes]:
        return self.start("entrypoint_celery.sh", **environment)

    def is_ready(self) -> bool:
        try:
            return call("GET", f"{self.base}/readyz/").status == 200
        except OSError:
            return False

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def log_lines(self, **fields: Any) -> list[dict[str, Any]]:
        """The lines of the log that have these fields. Leaves out a line that a process is still writing."""
        lines = [json.loads(line) for line in self.output().splitlines(keepends=True) if line.endswith("}\n")]
        return [line for line in lines if fields.items() <= line.items()]

    def manage(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(self.root / "src/manage.py"), *arguments]
        environment = {**self.environment, **environment}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)

    def post(self, **fields: Any) -> dict[str, Any]:
        request = {"amount": "100.50", "currency": "RUB", "recipient_details": {"number": "4111111111111111"}}
        answer = call("POST", self.payouts, {**request, **fields})
        assert answer.status == 201, answer
        return answer.json()

    def get(self, payout: dict[str, Any]) -> dict[str, Any]:
        return call("GET", f"{self.payouts}{payout['id']}/").json()

    def payments(self, gateway: Gateway, payouts: list[dict[str, Any]]) -> list[int]:
        """How many times the gateway has paid each of these."""
        keys = self.database.rows(
            "SELECT id, gateway_key FROM payouts_payout WHERE id = ANY(%s)", [payout["id"] for payout in payouts]
        )
        key_of = {str(pk): str(key) for pk, key in keys}
        paid = Counter(entry["key"] for entry in gateway.ledger() if entry["status"] in ("paid", "returned"))
        return [paid[key_of[payout["id"]]] for payout in payouts]

    def statuses(self, payouts: list[dict[str, Any]]) -> dict[str, int]:
        query = "SELECT status, count(*) FROM payouts_payout WHERE id = ANY(%s) GROUP BY 1"
        return dict(self.database.rows(query, [payout["id"] for payout in payouts]))

    def wait_for(self, payout: dict[str, Any], status: str) -> dict[str, Any]:
        wait_until(lambda: self.get(payout)["status"] == status, log=self.log)
        return self.get(payout)

    def connect(self) -> Connection:
        url, options = self.environment["CELERY_BROKER_URL"], {}
        if url.startswith("filesystem"):
            folder = url.removeprefix("filesystem://localhost")
            options = {"data_folder_in": folder, "data_folder_out": folder, "control_folder": f"{folder}/control"}
        # As the service does: kombu's own writes a message where a worker may read half of it.
        transport = "runtime.filesystem:Transport" if url.startswith("filesystem") else None
        return Connection(url, transport=transport, transport_options=options, connect_timeout=2)

    def ring(self, *identifiers: str) -> None:
        with Celery(set_as_current=False) as app, self.connect() as connection:
            for identifier in identifiers:
                # Names the queue and the connection, because Celery would take those of the tests' environment.
                app.send_task(
                    "payouts.process",
                    (identifier,),
                    queue=self.environment["CELERY_TASK_DEFAULT_QUEUE"],
                    ignore_result=True,
                    connection=connection,
                )

    def stop(self, process: subprocess.Popen[bytes]) -> int:
        process.send_signal(signal.SIGTERM)
        return process.wait(30)

    def clone(self) -> "Service":
        """The same service, but with settings, processes and a log of its own."""
        clone = copy(self)
        clone.environment, clone.processes = dict(self.environment), []
        clone.log = scratch / f"{uuid4().hex}.log"
        return clone

    def kill(self) -> None:
        """Ends the processes at once. Tests that look at an orderly end use `stop`."""
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def purge(self) -> None:
        with self.connect() as connection:
            connection.default_channel.queue_purge(self.queue)

    def clear(self) -> None:
        """Deletes all messages and all payouts."""
        self.purge()
        with self.database.connect() as connection:
            connection.execute("TRUNCATE payouts_payout, payouts_payoutchange")

    def close(self) -> None:
        self.kill()
        if not IN_FILES:
            with Connection(BROKER_URL) as broker:
                broker.default_channel.queue_delete(self.queue)
                broker.default_channel.exchange_delete(self.queue)


@contextmanager
def deployment(template: Database, **environment: str) -> Iterator[Service]:
    """A service on a copy of this database. Its processes end even if one of them fails to start."""
    database = Database(template.name)
    service = Service(database, ROOT, **environment)
    try:
        yield service
    finally:
        service.close()
        database.drop()
