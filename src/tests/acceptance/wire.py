"""A connection to the broker that goes wrong."""

import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit

from tests.servers import BROKER_URL


class Wire:
    """Carries bytes to the broker. It can be cut, and it can hold bytes back."""

    def __init__(self) -> None:
        self.is_open = threading.Event()
        self.is_open.set()
        self.server = socket.create_server(("127.0.0.1", 0))
        broker = urlsplit(BROKER_URL)
        self.broker = broker.hostname, broker.port or {"redis": 6379}.get(broker.scheme, 5672)
        netloc = f"{broker.username or ''}:{broker.password or ''}@127.0.0.1:{self.server.getsockname()[1]}"
        self.url = broker._replace(netloc=netloc).geturl()
        self.ends: list[socket.socket] = []
        self.acceptor = threading.Thread(target=self.accept)
        self.acceptor.start()

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _address = self.server.accept()
                self.ends.append(near)
                far = socket.create_connection(self.broker)
                self.ends.append(far)
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self.carry, args=(source, target), daemon=True).start()

    def carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self.is_open.wait()
                target.sendall(data)

    def cut(self) -> None:
        for end in self.ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.ends.clear()

    def close(self) -> None:
        self.is_open.set()
        # Accept nobody first, because clients that are cut off connect again at once.
        self.server.shutdown(socket.SHUT_RDWR)
        self.acceptor.join()
        self.server.close()
        self.cut()
