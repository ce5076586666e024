"""A provider that takes its time, and next to no CPU: `python -m benchmarks.provider PORT SECONDS`."""

import asyncio
import re
import sys

PAYMENT = re.compile(rb'"key": "([^"]+)", "amount": "([^"]+)", "currency": "([^"]+)"')
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
ANSWER = b'{"key": "%s", "status": "paid", "amount": "%s", "currency": "%s", "reference": "r"}'
REPLY = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"


class Provider(asyncio.Protocol):
    def __init__(self, seconds: float) -> None:
        self.seconds, self.received = seconds, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not end or (length and len(body) < int(length[1])):
            return
        self.received = b""
        payment = PAYMENT.search(body)
        answer = ANSWER % payment.groups() if payment else b"{}"
        asyncio.get_running_loop().call_later(self.seconds, self.transport.write, REPLY % (len(answer), answer))


async def main(port: int, seconds: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Provider(seconds), "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
