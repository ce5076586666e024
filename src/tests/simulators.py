"""The reference gateway in this process, as a real provider of the fast tests, and what each of them asks of a row."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from payouts import gateways
from payouts.models import Payout
from payouts.tasks import process
from tests.gateway.ledger import Reply
from tests.gateway.server import Gateway, Handler
from tests.make import make_payout, reload


class Exchange(NamedTuple):
    """One request and its answer, with the body of each as it was read."""

    method: str
    path: str
    connection: Any
    headers: dict[str, str]
    body: str
    code: int
    answer: Any


class Simulator(Gateway):
    """Keeps what was asked and answered, and may answer with what is meant for somebody else."""

    def __init__(self) -> None:
        super().__init__("0")
        self.RequestHandlerClass = Recorder
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.exchanges: list[Exchange] = []
        self.slips: list[Reply | Callable[[], Reply]] = []

    def set(self, **changes: Any) -> None:
        self.behaviour = self.behaviour.changed(changes)

    def paths(self) -> list[str]:
        return [f"{each.method} {each.path}" for each in self.exchanges]


class Recorder(Handler):
    server: Simulator
    asked: Any

    def call(self) -> Any:
        self.asked = super().call()
        return self.asked

    def answer_in_mood(self, mood: str, reply: Reply) -> None:
        slip = self.server.slips.pop() if self.server.slips else reply
        super().answer_in_mood(mood, slip() if callable(slip) else slip)

    def answer(self, reply: Reply, missing: int = 0) -> None:
        exchange = (self.client_address, dict(self.headers), self.asked.body.decode(), reply.code, reply.content)
        self.server.exchanges.append(Exchange(self.command, self.path, *exchange))
        super().answer(reply, missing)


@contextmanager
def simulator(settings: Any, name: str, currency: str, secret: str) -> Iterator[Simulator]:
    """A provider to which the route of this name leads."""
    with Simulator() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        options = {"url": server.url, "user": "100500", "secret": secret}
        settings.PAYOUT_PROVIDERS, settings.PAYOUT_ROUTES = {name: options}, {currency: name}
        settings.PAYOUT_GATEWAY_TIMEOUT = 2
        server.set(token=f"100500:{secret}")
        gateways.routes.cache_clear()
        yield server
        server.shutdown()
    gateways.routes.cache_clear()


def ask(payout: Payout, **changes: Any) -> Payout:
    """Lets a worker take the payout now. Returns it as it is then."""
    Payout.objects.filter(pk=payout.pk, due_at__isnull=False).update(due_at=payout.created_at, **changes)
    process(str(payout.pk))
    return reload(payout)


def payer(currency: str, **details: Any) -> Callable[..., Payout]:
    """Makes payouts to such a recipient, and lets a worker take each of them once."""

    def pay(**fields: Any) -> Payout:
        return ask(make_payout(**{"currency": currency, "recipient_details": details, **fields}))

    return pay


def notify(client: Any, gateway: str, body: Any) -> int:
    return int(client.post(f"/gateways/{gateway}/", json.dumps(body), "application/json").status_code)
