"""The release before the newest migration works on while that migration is applied."""

import io
import subprocess
import tarfile
import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import pytest

from tests.acceptance.service import Service, call, wait_until
from tests.local import ROOT

# Nobody runs a release that is older than these.
FIRST_MIGRATIONS = {"0001_initial", "0002_history"}
NEWEST_MIGRATION = max((ROOT / "src/payouts/migrations").glob("0*.py"))
CLIENT_COUNT = 4


def git(*arguments):
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False).stdout


@pytest.fixture
def previous_release(tmp_path):
    """The tree of the last commit that did not have the newest migration."""
    if NEWEST_MIGRATION.stem in FIRST_MIGRATIONS:
        pytest.skip("the migrations are the first set, so there is no release before them")
    commit = git("log", "--diff-filter=A", "--format=%H", "-1", "--", str(NEWEST_MIGRATION)).decode().strip()
    archive = git("archive", "--format=tar", f"{commit}^" if commit else "HEAD")
    if archive:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(tmp_path, filter="data")
    if not (tmp_path / "src/payouts/migrations/0001_initial.py").exists():
        pytest.skip(f"git has no commit before {NEWEST_MIGRATION.stem}")
    return tmp_path


def test_the_previous_release_works_while_the_schema_is_upgraded(previous_release, empty_database):
    old, stopping, payouts = Service(empty_database, previous_release), threading.Event(), []

    def client():
        while not stopping.is_set():
            payouts.append(old.post())

    def wait_for_payouts(number):
        wait_until(lambda: len(payouts) >= number or wait(futures, 0, FIRST_COMPLETED).done, log=old.log)

    try:
        old.migrate()
        old.start_api()
        old.start_worker()
        with ThreadPoolExecutor(CLIENT_COUNT) as clients:
            futures = [clients.submit(client) for _ in range(CLIENT_COUNT)]
            try:
                wait_for_payouts(50)
                Service(empty_database).migrate()
                wait_for_payouts(len(payouts) + 50)
            finally:
                stopping.set()
        for future in futures:
            future.result()
        query = "SELECT status, count(*) FROM payouts_payout GROUP BY 1"
        wait_until(lambda: empty_database.rows(query) == [("COMPLETED", len(payouts))], log=old.log)
        assert old.is_ready()
    finally:
        old.close()


def test_a_migration_that_waits_for_a_lock_makes_no_request_fail(previous_release, empty_database):
    old, new = Service(empty_database, previous_release), Service(empty_database)
    try:
        old.migrate()
        old.start_api()
        with empty_database.connect() as dump, dump.transaction(), ThreadPoolExecutor() as executor:
            dump.execute("LOCK TABLE payouts_payout IN ACCESS SHARE MODE")
            migration = executor.submit(new.manage, "migrate")
            wait_until(lambda: migration.done() or empty_database.rows("SELECT 1 FROM pg_locks WHERE NOT granted"))
            assert call("GET", old.payouts).status == 200
            assert "lock timeout" in migration.result().stderr
        new.migrate()
    finally:
        old.close()
