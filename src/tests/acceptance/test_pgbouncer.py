"""The service with PgBouncer between it and PostgreSQL."""

import os
import shutil
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.acceptance.service import call, wait_until
from tests.local import AS_NOBODY, free_port
from tests.servers import scratch

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
TEMPLATE = """
[databases]
* = {server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
ignore_startup_parameters = options
"""


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def bouncer(own_service):
    """The settings that lead to a PgBouncer, which keeps two connections to the service's database."""
    port, configuration = free_port(), scratch / "pgbouncer.ini"
    server = " ".join(f"{key}={value}" for key, value in own_service.database.parameters.items())
    configuration.write_text(TEMPLATE.format(server=server, port=port))
    scratch.chmod(0o755)
    prefix = AS_NOBODY if os.geteuid() == 0 else []
    process = subprocess.Popen([*prefix, PGBOUNCER, "-q", configuration])
    wait_until(lambda: is_open(port))
    yield {"DB_HOST": "127.0.0.1", "DB_PORT": str(port)}
    process.terminate()
    process.wait()


@pytest.mark.skipif(PGBOUNCER is None, reason="PgBouncer is not installed")
def test_payouts_are_paid_through_pgbouncer_in_transaction_mode(own_service, bouncer):
    own_service.environment |= bouncer | {"DB_PREPARED_STATEMENTS": "False", "WEB_CONCURRENCY": "1"}
    own_service.start_api()
    own_service.start_worker()
    with ThreadPoolExecutor(8) as clients:
        payouts = list(clients.map(lambda _: own_service.post()["id"], range(80)))
    count = "SELECT count(*) FROM payouts_payout WHERE id = ANY(%s) AND status = 'COMPLETED' AND attempt = 1"
    wait_until(lambda: own_service.database.rows(count, payouts) == [(80,)])
    assert call("GET", f"{own_service.payouts}?search=x").status == 200
