"""Gives the tests their servers before Django reads its settings: a conftest would come too late."""

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
memory = Path("/dev/shm")  # noqa: S108
# Copies of a database cost little there. A container may have but 64 MB of it.
is_roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2**31
folder = tempfile.TemporaryDirectory(prefix="payouts-", dir=memory if is_roomy else None)
scratch = Path(servers.enter_context(folder))
if embedded := not (os.environ.get("DB_HOST") or os.environ.get("DATABASE_URL")):
    hasty = ("-c", "fsync=off", "-c", "full_page_writes=off")
    os.environ.update(servers.enter_context(postgres(scratch / "postgres", *hasty)))
# Processes that share the tests have the servers of the one that started them.
BROKER = os.environ.setdefault(
    "TESTS_BROKER_URL", os.environ.get("CELERY_BROKER_URL") or filesystem_broker(scratch / "broker")
)
os.environ.update(
    # The fast tests ring into the void; the acceptance tier has the real broker.
    CELERY_BROKER_URL="memory://",
    DEBUG="False",
    SECRET_KEY="a secret of the tests, of more than fifty characters, as Django wants it",
    PAYOUT_GATEWAY="sandbox",
    API_AUTH="open",
    # Where it is set, each of a hundred processes compiles the service anew.
    PYTHONDONTWRITEBYTECODE="",
)
sys.dont_write_bytecode = False


def pytest_report_header() -> str:
    where = "embedded" if embedded else os.environ.get("DB_HOST", "DATABASE_URL")
    chance = f"SEED={SEED} EXAMPLES={EXAMPLES} CROWD_SECONDS={CROWD_SECONDS}"
    return f"PostgreSQL: {where}; broker: {BROKER.split('@')[-1]}; {chance}"


def pytest_unconfigure() -> None:
    servers.close()
