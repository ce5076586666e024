"""Payouts in bulk."""

import random
import time
from collections.abc import Iterator
from typing import Any

from psycopg import Connection
from uuid_utils.compat import uuid7

COLUMNS = "id, user_id, amount, currency, recipient_details, comment, status, failure_reason, created_at"
COLUMNS += ", processed_at, due_at"
STEP_SECONDS = 1
# The peers do not know the column. A NEW payout must have it.
DEFAULTS = "ALTER TABLE payouts_payout ALTER due_at SET DEFAULT now()"
NEW = """
INSERT INTO payouts_payout (id, user_id, amount, currency, recipient_details, comment, status)
SELECT id, 7, 100.50, 'RUB', '{"type": "card", "number": "4111111111111111"}', 'Salary', 'NEW'
  FROM unnest(%s::uuid[]) AS id RETURNING id::text"""


def insert_new(database: Any, count: int) -> list[str]:
    return [row[0] for row in database.rows(NEW, [uuid7() for _ in range(count)])]


def payouts(count: int, waiting: int = 0) -> Iterator[str]:
    """
    Rows for COPY, the newest last, one a second until now.

    Each hundredth is one user's, 100 more are each other user's; one in 50 FAILED, the CANCELLED and the EUR are all
    among the oldest: a list of them must not read its way there from the newest. The last ones are `waiting`: so many
    NEW, and before them so many PROCESSING whose lease is over.
    """
    chance = random.Random(count)
    begun = time.time() - count * STEP_SECONDS
    for number in range(count):
        at = begun + number * STEP_SECONDS
        identifier = f"{int(at * 1000):012x}7{number % 4096:03x}{chance.randrange(2**63, 2**63 + 2**62):016x}"
        old = number < 1000
        user = 0 if number % 100 == 0 else 1 + number % max(count // 100, 1)
        currency = "EUR" if old and number % 2 else ("RUB", "USD")[number % 3 == 0]
        status = "CANCELLED" if old and number % 5 == 0 else "FAILED" if number % 50 == 1 else "COMPLETED"
        if number >= count - 2 * waiting:
            status = "NEW" if number >= count - waiting else "PROCESSING"
        reason = "No such card." if status == "FAILED" else ""
        comment = f"Salary for November invoice-{number}" + (" seldom" if number % 1000 == 0 else "")
        stamp = time.strftime("%Y-%m-%d %H:%M:%S+00", time.gmtime(at))
        processed = stamp if status in {"COMPLETED", "FAILED"} else "\\N"
        due = stamp if status in {"NEW", "PROCESSING"} else "\\N"
        amount = f"{chance.randrange(1, 10**7) / 100:.2f}"
        yield (
            f'{identifier}\t{user}\t{amount}\t{currency}\t{{"type": "card", "number": "4111111111111111"}}\t{comment}'
            f"\t{status}\t{reason}\t{stamp}\t{processed}\t{due}\n"
        )


def load(connection: Connection, count: int, waiting: int = 0) -> None:
    """Without the trigger: a history comes after."""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        with cursor.copy(f"COPY payouts_payout ({COLUMNS}) FROM STDIN") as copy:
            block: list[str] = []
            for row in payouts(count, waiting):
                block.append(row)
                if len(block) == 1000:
                    copy.write("".join(block))
                    block.clear()
            copy.write("".join(block))
        cursor.execute(
            """INSERT INTO payouts_payoutchange (payout_id, at, operation, changed_by, changes)
               SELECT id, created_at, 'INSERT', 'api', '{"status": "NEW"}' FROM payouts_payout"""
        )
        cursor.execute("SET session_replication_role = origin")
