"""How Gunicorn serves the API."""

import os
import socket
import struct
import tempfile
from pathlib import Path
from typing import Any

from config.cores import stay_on_a_core
from config.settings import env, refuse, set_process_defaults

workers = env.between("WEB_CONCURRENCY", 2, 1, 1000)
threads = env.between("API_THREADS", 4, 1, 1000)
port = env.between("PORT", 8080, 1, 65535)
bind = f"{env('API_HOST', default='0.0.0.0')}:{port}"  # noqa: S104
preload_app = True
control_socket_disable = True
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
    for file in counted.glob("*.db"):
        file.unlink()
except OSError as error:
    refuse("METRICS_FOLDER", error)

SILENT_SECONDS = 5


def when_ready(server: Any) -> None:
    """Frees the thread of a client that falls silent in a request: connections inherit the listener's time-out."""
    for listener in server.LISTENERS:
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", SILENT_SECONDS, 0))


def post_fork(server: Any, worker: Any) -> None:
    stay_on_a_core()
