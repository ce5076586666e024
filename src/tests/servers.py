"""Starts the PostgreSQL and the broker of the tests before Django reads its settings. A conftest would be too late."""

import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import environ

from tests.budget import CROWD_SECONDS, EXAMPLES, SEED
from tests.local import ROOT, filesystem_broker, postgres

servers = ExitStack()
environ.Env.read_env(ROOT / ".env")
# Copies of a database cost little in memory. A container may have only 64 MB of it.
memory_disk = Path("/dev/shm")  # noqa: S108
is_roomy = memory_disk.is_dir() and shutil.disk_usage(memory_disk).free > 2**31
folder = tempfile.TemporaryDirectory(prefix="payouts-", dir=memory_disk if is_roomy else None)
scratch = Path(servers.enter_context(folder))
if embedded := not (os.environ.get("DB_HOST") or os.environ.get("DATABASE_URL")):
    # Four processes share the tests, and each may have two services at a time.
    options = ("-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=300")
    os.environ.update(servers.enter_context(postgres(scratch / "postgres", *options)))
# xdist starts more processes. They inherit this variable, so all of them use one broker.
BROKER_URL = os.environ.setdefault(
    "TESTS_BROKER_URL", os.environ.get("CELERY_BROKER_URL") or filesystem_broker(scratch / "broker")
)
os.environ.update(
    # The fast tests publish into memory, where nobody listens. The acceptance tests use the real broker.
    CELERY_BROKER_URL="memory://",
    DEBUG="False",
    SECRET_KEY="a secret of the tests, of more than fifty characters, as Django wants it",
    PAYOUT_GATEWAY="sandbox",
    API_AUTH="open",
    # If this is set, each of a hundred processes compiles the service again.
    PYTHONDONTWRITEBYTECODE="",
)
sys.dont_write_bytecode = False


def pytest_report_header() -> str:
    server = "embedded" if embedded else os.environ.get("DB_HOST", "DATABASE_URL")
    budget = f"SEED={SEED} EXAMPLES={EXAMPLES} CROWD_SECONDS={CROWD_SECONDS}"
    return f"PostgreSQL: {server}; broker: {BROKER_URL.split('@')[-1]}; {budget}"


def pytest_unconfigure() -> None:
    servers.close()
