"""The queries of the service with ten thousand payouts and with ten million: what each reads, by which index."""

import logging
import os
import re
import statistics
import time
from argparse import Namespace
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from benchmarks import rows
from config.settings import PLANS
from payouts.gateways import paid
from payouts.machine import Status
from payouts.models import Payout
from tests.acceptance.service import Database, Service

SIZES = [int(size) for size in os.environ.get("SIZES", "10000 1000000 10000000").split()]
PAGE = "page_size=10"
WAITING = 100
# As the API has it. Read, because to import that would take the place of an API that runs here.
INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename ~ '^payouts_payout' AND indexname !~ '_pkey$'"
# What they are, by the rows that `rows.payouts` makes.
LISTS = {
    "default": "",
    "page 1": PAGE,
    "page 1000": PAGE,
    "numbered, with its count": "page=1",
    "user_id of 100 payouts": "user_id=5",
    "user_id of each 100th payout": "user_id=0",
    "user_id of none": "user_id=-1",
    "status COMPLETED": "status=COMPLETED",
    "status FAILED, each 50th": "status=FAILED",
    "status CANCELLED, 200 old ones": "status=CANCELLED",
    "status PROCESSING, 100": "status=PROCESSING",
    "status NEW, 100": "status=NEW",
    "currency RUB": "currency=RUB",
    "currency EUR, 500 old ones": "currency=EUR",
    "user_id by amount, 100": "user_id=5&ordering=amount",
    "user_id by amount, each 100th": "user_id=0&ordering=-amount",
    "search, in one": "search=invoice-77",
    "search, in each 1000th": "search=seldom",
    "search, in each": "search=salary",
    "search, in none": "search=nothing",
}

ADMIN = "/admin/payouts/payout/"
# Each is told after how many milliseconds its first byte is there.
PAGES = {
    "start page": "/admin/",
    "list": ADMIN,
    "list, last page": f"{ADMIN}?p=20",
    "list, oldest first": f"{ADMIN}?o=1",
    "list, outcome unknown": f"{ADMIN}?stuck=doubt",
    "list, FAILED": f"{ADMIN}?status__exact=FAILED",
    "list, amounts": f"{ADMIN}?amount_from=99000",
    "list, search by user": f"{ADMIN}?q=5",
    "list, search by each 100th's user": f"{ADMIN}?q=0",
    "list, search, in one": f"{ADMIN}?q=invoice-77",
    "list, search, in each 1000th": f"{ADMIN}?q=seldom",
    "list, search, in each": f"{ADMIN}?q=salary",
    "list, search, in none": f"{ADMIN}?q=nothing",
    "CSV": f"{ADMIN}export/",
    "CSV, search, in each 1000th": f"{ADMIN}export/?q=seldom",
}


def page(number: int, client: Any) -> str:
    url = f"/api/v1/payouts/?{PAGE}"
    for _page in range(number - 1):
        url = client.get(url).json()["next"].removeprefix("http://127.0.0.1")
    return url


def actions(client: Any) -> dict[str, Callable[[], Any]]:
    """Each does, through the application, what makes one query."""
    some = Payout.objects.order_by("created_at")[5].pk
    held = Payout.objects.filter(status=Status.PROCESSING)[0]
    urls = {name: f"/api/v1/payouts/?{query}" for name, query in LISTS.items()}
    urls["page 1000"] = page(1000, client)
    urls["one"] = f"/api/v1/payouts/{some}/"
    urls["history"] = f"/api/v1/payouts/{some}/history/"
    return {name: lambda url=url: client.get(url) for name, url in urls.items()} | {
        "recovery: claim NEW": lambda: Payout.objects.claim_due(Status.NEW, by="bench"),
        "recovery: claim overdue": lambda: Payout.objects.claim_due(Status.PROCESSING, by="bench"),
        "claim": lambda: Payout.objects.claim(some, by="bench"),
        "finish": lambda: Payout.objects.finish(held, paid(), by="bench"),
    }


def explain(action: Callable[[], Any]) -> tuple[int, float, str]:
    """Buffers, milliseconds and indexes of all that it asks, warm. Nothing is kept."""
    with CaptureQueriesContext(connection) as captured, transaction.atomic():
        action()
        transaction.set_rollback(True)
    asked = [query["sql"] for query in captured if "payouts_payout" in query["sql"]]
    buffers, milliseconds, indexes = 0, 0.0, []
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        for sql in asked:
            for _warm in range(2):
                cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}")
                plan = cursor.fetchone()[0][0]
                cursor.connection.rollback()
                cursor.execute("SET LOCAL statement_timeout = 0")
            buffers += plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
            milliseconds += plan["Execution Time"]
            indexes += re.findall(r"'Index Name': '(\w+)'|'Node Type': '(Seq Scan|Sort)'", str(plan))
        transaction.set_rollback(True)
    return buffers, milliseconds, " + ".join("".join(found).removeprefix("payouts_") for found in indexes)


class Loaded:
    """A database of so many payouts, and Django connected to it."""

    def __init__(self, count: int, broker: str) -> None:
        begun = time.monotonic()
        self.database = Database()
        Service(self.database, CELERY_BROKER_URL=broker).migrate()
        with psycopg.connect(**self.database.parameters, dbname=self.database.name, autocommit=True) as loader:
            loader.execute(rows.DEFAULTS)
            loader.execute("SET maintenance_work_mem = '512MB'")
            indexes = loader.execute(INDEXES).fetchall()
            for name, _definition in indexes:
                loader.execute(f"DROP INDEX {name}")
            rows.load(loader, count, WAITING)
            for _name, definition in indexes:
                loader.execute(definition)
            loader.execute("VACUUM ANALYZE")
        connection.close()
        connection.settings_dict["NAME"] = self.database.name
        connection.settings_dict["OPTIONS"]["options"] = PLANS
        print(f"{count} payouts loaded in {time.monotonic() - begun:.0f} s", flush=True)

    def close(self) -> None:
        connection.close()
        self.database.drop()


def writes(count: int = 500) -> dict[str, float]:
    """Bytes of WAL for each INSERT, claim and finish; on a server that does nothing else meanwhile."""
    fields = {"amount": "100.50", "currency": "RUB", "recipient_details": {"number": "4111"}, "user_id": 7}
    payouts: list[Any] = []
    result = {}

    def measure(name: str, step: Callable[[int], Any]) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_current_wal_insert_lsn()")
            begun = cursor.fetchone()
            for number in range(count):
                step(number)
            cursor.execute("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", begun)
            result[name] = float(cursor.fetchone()[0]) / count

    def accept(number: int) -> None:
        payouts.append(Payout.objects.accept({**fields, "comment": f"Salary {number}"}, by="bench")[0])

    measure("INSERT", accept)
    measure("claim", lambda number: payouts.append(Payout.objects.claim(payouts[number].pk, by="bench")))
    measure("finish", lambda number: Payout.objects.finish(payouts[count + number], paid(), by="bench"))
    return result


def costs() -> None:
    """What every write costs, and what it costs without each index. It is the same with few rows and with many."""
    print(f"\n{'bytes of WAL for each':<32}" + "".join(f"{name:>10}" for name in ("INSERT", "claim", "finish")))
    # The first after a checkpoint write whole pages.
    writes()
    everything = writes()
    print(f"{'with all indexes':<32}" + "".join(f"{wal:>10.0f}" for wal in everything.values()))
    with connection.cursor() as cursor:
        # The INSERT cannot do without the unique one.
        cursor.execute(f"{INDEXES} AND tablename = 'payouts_payout' AND indexdef !~ 'UNIQUE'")
        for name, definition in cursor.fetchall():
            cursor.execute(f"DROP INDEX {name}")
            saved = [wal - less for wal, less in zip(everything.values(), writes().values(), strict=True)]
            cursor.execute(definition)
            print(f"{'of which ' + name:<32}" + "".join(f"{wal:>10.0f}" for wal in saved))


def first_byte(client: Any, path: str) -> float:
    """The median of five, warm."""
    taken = []
    for _time in range(6):
        begun = time.monotonic()
        answer = client.get(path)
        assert answer.status_code == 200, (path, answer)
        next(iter(answer))
        answer.close()
        taken.append(time.monotonic() - begun)
    return 1000 * statistics.median(taken[1:])


def staff() -> Client:
    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(User.objects.create_user("ann", is_staff=True, is_superuser=True))
    return client


def main(options: Namespace, broker: str, folder: Path) -> None:
    logging.disable()
    client = APIClient(SERVER_NAME="127.0.0.1", raise_request_exception=False)
    found: dict[str, list[tuple[int, float, str]]] = {}
    pages: dict[str, list[float]] = {}
    sizes = SIZES[:1] if options.quick else SIZES
    for size in sizes:
        with ExitStack() as stack:
            loaded = Loaded(size, broker)
            stack.callback(loaded.close)
            for name, action in actions(client).items():
                if name.startswith(options.only):
                    found.setdefault(name, []).append(explain(action))
            looking = staff()
            for name, path in PAGES.items():
                pages.setdefault(name, []).append(first_byte(looking, path))
            if size == sizes[0]:
                costs()
    print(f"\n{'buffers, ms':<32}" + "".join(f"{size:>20,}" for size in sizes) + "  flat  indexes with the most rows")
    for name, plans in found.items():
        line = "".join(f"{buffers:>12} {milliseconds:>7.1f}" for buffers, milliseconds, _index in plans)
        flat = "yes" if plans[-1][0] <= 1.5 * plans[0][0] + 10 else "NO"
        print(f"{name:<32}{line}  {flat:<5} {plans[-1][2]}")
    print(f"\n{'the admin, ms to the first byte':<40}" + "".join(f"{size:>12,}" for size in sizes))
    for name, taken in pages.items():
        print(f"{name:<40}" + "".join(f"{milliseconds:>12.0f}" for milliseconds in taken))
