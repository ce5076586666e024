"""How Gunicorn serves the API."""

import os
import socket
import struct
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

from config.cores import stay_on_a_core
from config.settings import env, refuse, set_process_defaults

workers = env.between("WEB_CONCURRENCY", 2, 1, 1000)
threads = env.between("API_THREADS", 4, 1, 1000)
port = env.between("PORT", 8080, 1, 65535)
host = env("API_HOST", default="0.0.0.0").strip("[]")  # noqa: S104
bind = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
preload_app = True
control_socket_disable = True
# It would wait without end for a client that does not read.
sendfile = False
# Gunicorn touches a file for each heartbeat; on a disk that can hang a worker.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()  # noqa: S108
# No request may keep PostgreSQL busy for long, nor more than one process of it; a list that would is refused.
# Pages are in memory or on an SSD, and to split a text into words costs more than PostgreSQL thinks: without this a
# search among ten million comments takes half a second.
plans = "-c max_parallel_workers_per_gather=0 -c random_page_cost=1.1 -c cpu_operator_cost=0.005"
set_process_defaults("payouts-api", f"-c statement_timeout=2s {plans}")

# Its processes count together for /metrics, in files of this folder.
counted = Path(env("METRICS_FOLDER", default=f"{worker_tmp_dir}/payouts-metrics-{port}"))
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(counted)
try:
    counted.mkdir(parents=True, exist_ok=True)
except OSError as error:
    refuse("METRICS_FOLDER", error)

SILENT_SECONDS = 5


def when_ready(server: Any) -> None:
    """Frees the thread of a client that neither writes nor reads: connections inherit what the listener has set."""
    for listener, way in product(server.LISTENERS, (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO)):
        listener.sock.setsockopt(socket.SOL_SOCKET, way, struct.pack("ll", SILENT_SECONDS, 0))
        # A third of it has to be read in that time; of the 4 MB that it grows to, a slow line could not.
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    # Now that the port is ours, those whom they counted are gone.
    for file in counted.glob("*.db"):
        file.unlink()


def post_fork(server: Any, worker: Any) -> None:
    stay_on_a_core()
