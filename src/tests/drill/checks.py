"""What must be true after a drill, whatever broke: the provider's ledger and the payouts tell the same."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, NamedTuple

from tests.drill.client import Order
from tests.drill.world import World
from tests.make import LEGAL_MOVES

WORKERS = ("worker", "recovery")
MONEY = {"amount", "currency", "recipient_details", "user_id"}


class Row(NamedTuple):
    id: str
    key: str
    status: str
    is_deleted: bool
    is_due: bool
    amount: Decimal
    submission: int
    note: str
    intent: str
    attempt: int
    # Seconds from now.
    due_in: float | None

    @property
    def waits_for_person(self) -> bool:
        return self.status == "PROCESSING" and not self.is_due


class Outcome(NamedTuple):
    """What a worker wrote of one submission."""

    payout: str
    status: str
    amount: Decimal


type Ledger = dict[str, list[dict[str, Any]]]


def read_rows(world: World) -> dict[str, Row]:
    query = (
        "SELECT id, gateway_key, status, deleted_at IS NOT NULL, due_at IS NOT NULL, amount, submission, note,"
        " split_part(comment, ' ', 1), attempt, extract(epoch FROM due_at - now())::float FROM payouts_payout"
    )
    return {str(pk): Row(str(pk), str(key), *rest) for pk, key, *rest in world.postgres.rows(query)}


def read_ledger(world: World) -> Ledger:
    ledger = defaultdict(list)
    for entry in world.gateway.ledger():
        ledger[entry["key"]].append(entry)
    return ledger


def read_histories(world: World) -> dict[str, list[Any]]:
    """The changes of each payout: its new status, who made the change, the new values and the operation."""
    histories = defaultdict(list)
    query = "SELECT payout_id, changed_by, changes, operation FROM payouts_payoutchange ORDER BY id"
    for payout, changed_by, changes, operation in world.postgres.rows(query):
        histories[str(payout)].append((changes.get("status"), changed_by.split()[0], changes, operation))
    return histories


def paid(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [entry for entry in entries if entry["status"] in ("paid", "returned")]


def is_of_another_amount(row: Row, ledger: Ledger) -> bool:
    """A failover took back a correction of the amount after it was paid. Nobody but a person can settle that."""
    return any(Decimal(entry["amount"]) != row.amount for entry in ledger[row.key])


def unsettled(world: World) -> list[Row]:
    """What the service still has to do. What waits for a person is not among it."""
    rows = [
        row
        for row in read_rows(world).values()
        if not row.is_deleted and (row.status == "NEW" or (row.is_due and row.status in ("PROCESSING", "COMPLETED")))
    ]
    if rows and len(rows) < 20 and world.postgres.failovers:
        ledger = read_ledger(world)
        rows = [row for row in rows if row.status == "NEW" or not is_of_another_amount(row, ledger)]
    return rows


def outcomes_by_key(histories: dict[str, list[Any]]) -> dict[str, Outcome]:
    """What a worker wrote of each submission last."""
    outcomes = {}
    for payout, history in histories.items():
        key, amount = "", Decimal(0)
        for status, by, changes, _operation in history:
            key, amount = changes.get("gateway_key", key), Decimal(str(changes.get("amount", amount)))
            if status in ("COMPLETED", "FAILED") and by in WORKERS:
                is_returned = changes.get("failure_reason", "").startswith("Returned: ")
                outcomes[key] = Outcome(payout, "RETURNED" if is_returned else status, amount)
    return outcomes


def check_each_outcome(outcomes: dict[str, Outcome], rows: dict[str, Row], ledger: Ledger) -> None:
    """What a worker wrote is what the provider has booked, once, with this amount."""
    for key, outcome in outcomes.items():
        statuses = {entry["status"] for entry in ledger[key]}
        expected = {{"COMPLETED": "paid", "RETURNED": "returned", "FAILED": "refused"}[outcome.status]}
        if outcome.status == "COMPLETED" and rows[outcome.payout].is_deleted:
            # Nobody looks at it any more.
            expected |= {"returned"}
        assert statuses, outcome
        assert statuses <= expected, (outcome, ledger[key])
        if outcome.status != "FAILED":
            amounts = [Decimal(entry["amount"]) for entry in ledger[key]]
            assert amounts == [outcome.amount], (outcome, ledger[key])


def check_each_payment(
    world: World, rows: dict[str, Row], outcomes: dict[str, Outcome], ledger: Ledger, histories: dict[str, list[Any]]
) -> Counter[str]:
    """Each payment belongs to a payout that is COMPLETED, or that nobody but a person can know. Counts the others."""
    by_key = {row.key: row for row in rows.values()}
    others: Counter[str] = Counter()
    for key, entries in ledger.items():
        assert len(paid(entries)) <= 1, entries
        if not paid(entries) or (key in outcomes and outcomes[key].status != "FAILED"):
            continue
        row = by_key.get(key)
        if row and row.status == "PROCESSING":
            others["wait for a person" if row.waits_for_person else "in doubt, paid with another amount"] += 1
            continue
        # Only a failover may have lost that it was paid, or the whole payout.
        assert world.postgres.failovers, (row, entries, row and histories[row.id])
        others["lost by the failover, changed since" if row else "lost by the failover"] += 1
    return others


def check_each_intent(ledger: Ledger, excused: set[str]) -> int:
    """No intent of a caller was paid twice, unless the money came back before. Returns how many were paid."""
    payments = Counter(
        entry["comment"].split()[0] for entries in ledger.values() for entry in entries if entry["status"] == "paid"
    )
    twice = {intent for intent, count in payments.items() if count > 1} - excused
    assert not twice, [
        entry for entries in ledger.values() for entry in entries if entry["comment"].split()[0] in twice
    ]
    return len(payments)


def check_each_order(world: World, orders: list[Order], rows: dict[str, Row]) -> int:
    """What was accepted is there. Returns how many payouts a failover has lost."""
    lost = [order for order in orders if not order.ids & rows.keys()]
    assert not [order for order in lost if order.key], lost
    assert not lost or world.postgres.failovers, lost
    for order in orders:
        assert len(order.ids & rows.keys()) <= 1, order
        assert len(order.ids) == 1 or world.postgres.failovers, order
    return len(lost) + sum(len(order.ids - rows.keys()) for order in orders if order.key)


def assert_legal(history: list[Any]) -> None:
    status = ""
    for new, _by, changes, operation in history:
        if operation == "INSERT":
            assert (status, new) == ("", "NEW"), history
        elif changes.keys() & MONEY:
            assert status == "NEW" or (status, new) == ("FAILED", "NEW"), history
        if operation != "INSERT" and new:
            assert (status, new) in LEGAL_MOVES, history
        status = new or status
