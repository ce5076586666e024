"""What Gunicorn has no option for."""

import socket
import struct
from typing import Any

SILENT_SECONDS = 5


def when_ready(server: Any) -> None:
    """Takes its thread from a client that falls silent in a request: connections inherit the listener's time-out."""
    for listener in server.LISTENERS:
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", SILENT_SECONDS, 0))
