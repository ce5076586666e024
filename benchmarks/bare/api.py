"""The ceiling: a WSGI function, psycopg and a kept producer, with the same duties and nothing else."""

import json
import os
import re
import threading
import uuid
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, quote

from kombu import Connection
from psycopg.types.json import Jsonb
from uuid_utils.compat import uuid7

from benchmarks.bare.sql import SHOWN, pool

BASE = "/api/v1/payouts/"
AMOUNT = re.compile(r"[0-9]{1,10}(\.[0-9]{1,2})?")
QUEUE = os.environ["CELERY_TASK_DEFAULT_QUEUE"]
database = pool(4)
local = threading.local()


def invalid(fields: dict[str, Any]) -> str | None:
    details, comment, user = fields.get("recipient_details"), fields.get("comment", ""), fields.get("user_id")
    if not AMOUNT.fullmatch(str(fields.get("amount"))) or Decimal(fields["amount"]) <= 0:
        return "amount"
    if fields.get("currency") not in {"RUB", "USD", "EUR"}:
        return "currency"
    if not isinstance(details, dict) or not details:
        return "recipient_details"
    if not isinstance(comment, str) or len(comment) > 1000:
        return "comment"
    return "user_id" if user is not None and not isinstance(user, int) else None


def create(fields: dict[str, Any], request_id: str) -> Any:
    with database.connection() as connection:
        row = connection.execute(
            f"""INSERT INTO payouts_payout (id, user_id, amount, currency, recipient_details, comment, changed_by)
                VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING {SHOWN}""",  # noqa: S608
            (
                *(uuid7(), fields.get("user_id"), fields["amount"], fields["currency"]),
                *(Jsonb(fields["recipient_details"]), fields.get("comment", ""), f"api {request_id}"),
            ),
        ).fetchone()
    if not hasattr(local, "producer"):
        local.producer = Connection(os.environ["CELERY_BROKER_URL"]).Producer()
    local.producer.publish([[str(row["id"])], {}, {}], routing_key=QUEUE, headers={"request_id": request_id})
    return row


def find(query: dict[str, str]) -> Any:
    conditions, values = ["true"], []
    for name in ("status", "currency", "user_id"):
        if name in query:
            conditions.append(f"{name} = %s")
            values.append(query[name])
    if "search" in query:
        conditions.append("to_tsvector('simple', coalesce(comment, '')) @@ plainto_tsquery('simple', %s)")
        values.append(query["search"])
    if "cursor" in query:
        conditions.append("(created_at, id) < (%s, %s)")
        values += query["cursor"].split(",")
    where = " AND ".join(conditions)
    with database.connection() as connection:
        rows = connection.execute(
            f"SELECT {SHOWN} FROM payouts_payout WHERE {where} ORDER BY created_at DESC, id DESC LIMIT 50",  # noqa: S608
            values,
        ).fetchall()
    following = f"{BASE}?cursor={quote(f'{rows[-1]["created_at"]},{rows[-1]["id"]}')}" if rows else None
    return {"next": following, "results": rows}


def retrieve(payout_id: str) -> Any:
    with database.connection() as connection:
        return connection.execute(f"SELECT {SHOWN} FROM payouts_payout WHERE id = %s", (payout_id,)).fetchone()  # noqa: S608


def answer(environ: dict[str, Any], request_id: str) -> tuple[str, Any]:
    path = environ["PATH_INFO"]
    if environ["REQUEST_METHOD"] == "POST":
        fields = json.loads(environ["wsgi.input"].read())
        wrong = invalid(fields)
        return ("400 Bad Request", {wrong: "wrong"}) if wrong else ("201 Created", create(fields, request_id))
    if path == BASE:
        return "200 OK", find({name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()})
    return "200 OK", retrieve(path.removeprefix(BASE).rstrip("/"))


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    request_id = environ.get("HTTP_X_REQUEST_ID") or uuid.uuid4().hex
    status, body = answer(environ, request_id)
    data = json.dumps(body, default=str).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(data))), ("X-Request-ID", request_id)]
    start_response(status, headers)
    return [data]
