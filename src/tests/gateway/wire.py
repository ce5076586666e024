"""A request to the reference gateway, as it came."""

from email.message import Message
from typing import NamedTuple

from tests.gateway.behaviour import Behaviour
from tests.gateway.ledger import Ledger


class Call(NamedTuple):
    path: str
    query: dict[str, str]
    headers: Message
    body: bytes
    behaviour: Behaviour
    ledger: Ledger
