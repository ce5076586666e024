"""How Gunicorn serves the API."""

import os
import socket
import struct
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

from config.settings import env
from runtime.cores import stay_on_a_core
from runtime.start import hold_sigterm, stop_if_unusable, take_sigterm

workers = env.between("WEB_CONCURRENCY", 2, 1, 1000)
threads = env.between("API_THREADS", 4, 1, 1000)
port = env.between("PORT", 8080, 1, 65535)
host = env("API_HOST", default="0.0.0.0").strip("[]")  # noqa: S104
bind = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
preload_app = True
control_socket_disable = True
# With sendfile Gunicorn waits without end for a client that does not read.
sendfile = False
# Gunicorn touches a file for each heartbeat. On a disk that can hang a worker, so the file is in memory.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()  # noqa: S108

# The processes count together for /metrics, in files of this folder.
metrics_folder = Path(env("METRICS_FOLDER", default=f"{worker_tmp_dir}/payouts-metrics-{port}"))
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics_folder)
with stop_if_unusable("METRICS_FOLDER"):
    metrics_folder.mkdir(parents=True, exist_ok=True)

STALLED_SECONDS = 5
# A small buffer: a slow client must be able to drain a third of it within the time-out.
SEND_BUFFER = 64 * 1024


def when_ready(server: Any) -> None:
    """Sets what each connection inherits from the listener: a client that neither reads nor writes loses its thread."""
    for listener, direction in product(server.LISTENERS, (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO)):
        listener.sock.setsockopt(socket.SOL_SOCKET, direction, struct.pack("ll", STALLED_SECONDS, 0))
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    # The port is ours, so the processes that wrote these files have ended.
    for file in metrics_folder.glob("*.db"):
        file.unlink()


# The arbiter has no hook of Gunicorn's for the moment after a fork.
os.register_at_fork(after_in_parent=take_sigterm)


def pre_fork(server: Any, worker: Any) -> None:
    hold_sigterm()


def post_fork(server: Any, worker: Any) -> None:
    stay_on_a_core()


def post_worker_init(worker: Any) -> None:
    take_sigterm()
