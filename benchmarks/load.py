"""The load, in a process of its own: reads a job as JSON, sends requests in one thread, prints what it saw."""

import json
import re
import selectors
import socket
import sys
import time
from collections import Counter
from typing import Any

ID = re.compile(rb'"id": ?"([^"]+)"')
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


class Client:
    def __init__(self, port: int, request: bytes) -> None:
        self.port, self.request = port, request
        self.connect()

    def connect(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, due: float) -> None:
        self.due, self.answer = due, bytearray()
        self.socket.sendall(self.request)

    def receive(self) -> bool:
        """True when the answer is whole."""
        chunk = self.socket.recv(1 << 18)
        self.answer += chunk
        head = self.answer.find(b"\r\n\r\n")
        if not chunk:
            raise ConnectionError(bytes(self.answer))
        if head < 0:
            return False
        length = LENGTH.search(self.answer, 0, head)
        return len(self.answer) == head + 4 + int(length[1] if length else 0)


def run(port: int, request: str, clients: int, seconds: float, rate: float | None = None) -> dict[str, Any]:
    """As many clients, each with one request at a time; with a rate, at that rate, and lateness counts as latency."""
    selector = selectors.DefaultSelector()
    idle = [Client(port, request.encode()) for _ in range(clients)]
    for client in idle:
        selector.register(client.socket, selectors.EVENT_READ, client)
    statuses: Counter[int] = Counter()
    seen: list[tuple[float, float, str]] = []
    begun = due = time.time()
    while True:
        now = time.time()
        while idle and due <= now < begun + seconds:
            # The one that waited longest, so that the server closes none for its silence.
            idle.pop(0).send(due if rate else now)
            due += 1 / rate if rate else 0
        if now >= begun + seconds and len(idle) == clients:
            break
        waiting = due if idle and rate else now + 1
        for key, _events in selector.select(max(0.0, min(waiting, begun + seconds) - now) or None):
            client = key.data
            if client.receive():
                statuses[int(client.answer[9:12])] += 1
                found = ID.search(client.answer)
                seen.append((client.due, time.time() - client.due, found[1].decode() if found else ""))
                idle.append(client)
    return {"seconds": time.time() - begun, "statuses": statuses, "seen": seen}


if __name__ == "__main__":
    json.dump(run(**json.load(sys.stdin)), sys.stdout)
