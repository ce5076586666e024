"""The release before the newest migration goes on working while that migration is applied."""

import io
import subprocess
import tarfile
import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import pytest

from tests.acceptance.service import Service, call, wait_until
from tests.local import ROOT

# Nobody has run a release before these.
FIRST = {"0001_initial", "0002_history"}
NEWEST = max((ROOT / "src/payouts/migrations").glob("0*.py"))
CLIENTS = 4


def git(*arguments):
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False).stdout


@pytest.fixture
def previous(tmp_path):
    """The tree of the last commit that did not have the newest migration."""
    if NEWEST.stem in FIRST:
        pytest.skip("the migrations are the first set, so there is no release before them")
    added = git("log", "--diff-filter=A", "--format=%H", "-1", "--", str(NEWEST)).decode().strip()
    archive = git("archive", "--format=tar", f"{added}^" if added else "HEAD")
    if archive:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(tmp_path, filter="data")
    if not (tmp_path / "src/payouts/migrations/0001_initial.py").exists():
        pytest.skip(f"no commit that git has here is a release before {NEWEST.stem}")
    return tmp_path


def test_the_previous_release_works_while_the_schema_is_upgraded(previous, empty_database):
    old, stopping, made = Service(empty_database, previous), threading.Event(), []

    def client():
        while not stopping.is_set():
            made.append(old.post())

    def progress(number):
        wait_until(lambda: len(made) >= number or wait(running, 0, FIRST_COMPLETED).done, log=old.log)

    try:
        old.migrate()
        old.start_api()
        old.start_worker()
        with ThreadPoolExecutor(CLIENTS) as clients:
            running = [clients.submit(client) for _ in range(CLIENTS)]
            try:
                progress(50)
                Service(empty_database).migrate()
                progress(len(made) + 50)
            finally:
                stopping.set()
        for each in running:
            each.result()
        query = "SELECT status, count(*) FROM payouts_payout GROUP BY 1"
        wait_until(lambda: empty_database.rows(query) == [("COMPLETED", len(made))], log=old.log)
        assert old.is_ready()
    finally:
        old.close()


def test_a_migration_that_has_to_wait_makes_no_request_fail(previous, empty_database):
    old, new = Service(empty_database, previous), Service(empty_database)
    try:
        old.migrate()
        old.start_api()
        with empty_database.connect() as dump, dump.transaction(), ThreadPoolExecutor() as elsewhere:
            dump.execute("LOCK TABLE payouts_payout IN ACCESS SHARE MODE")
            migration = elsewhere.submit(new.manage, "migrate")
            wait_until(lambda: migration.done() or empty_database.rows("SELECT 1 FROM pg_locks WHERE NOT granted"))
            assert call("GET", old.payouts).status == 200
            assert "lock timeout" in migration.result().stderr
        new.migrate()
    finally:
        old.close()
