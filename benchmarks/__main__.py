"""`make bench`, `bench-scaleout` and `bench-scale`: on the servers that the environment names, or on its own."""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path

import django
import environ
import psycopg

from tests.local import ROOT, postgres

# With a password, as in production: proving it is a good part of what a new connection costs.
HBA = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"


@contextmanager
def servers(folder: Path) -> Iterator[str]:
    """Leaves the database's settings in the environment, and yields the broker's URL."""
    environ.Env.read_env(ROOT / ".env")
    broker = os.environ.get("CELERY_BROKER_URL")
    with ExitStack() as stack:
        if not os.environ.keys() & {"DB_HOST", "DATABASE_URL"}:
            (folder / "hba").write_text(HBA)
            own = postgres(folder / "postgres", "-c", "max_connections=200", "-c", f"hba_file={folder}/hba")
            settings = stack.enter_context(own)
            with psycopg.connect(f"postgresql://postgres@127.0.0.1:{settings['DB_PORT']}/postgres") as connection:
                connection.execute("CREATE ROLE payouts SUPERUSER LOGIN PASSWORD 'payouts'")
            os.environ.update(settings | {"DB_USER": "payouts", "DB_PASSWORD": "payouts"})
        # Imported now, because what it imports starts a PostgreSQL where the environment names none.
        drill = import_module("tests.drill.rabbitmq")
        if not broker:
            rabbitmq = drill.RabbitMQ(folder / "rabbitmq")
            stack.callback(rabbitmq.kill)
            rabbitmq.start()
            broker = rabbitmq.url
        yield broker


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("what", choices=["compare", "scaleout", "scale", "slow"])
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it runs")
    parser.add_argument("--only", default="", help="compare: only the parts whose names begin with this")
    parser.add_argument("--peer", action="append", help="compare: only this one, as the table calls it; or several")
    options = parser.parse_args()
    # What was started and created is stopped and dropped then too.
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit("stopped"))
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    with tempfile.TemporaryDirectory(prefix="payouts-bench-") as name:
        Path(name).chmod(0o755)
        with servers(Path(name)) as broker:
            # Now that its settings can be read.
            django.setup()
            import_module(f"benchmarks.{options.what}").main(options, broker, Path(name))


if __name__ == "__main__":
    main()
