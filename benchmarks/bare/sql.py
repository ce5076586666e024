import os

from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

NAMES = ("host", "port", "user", "password")
WHERE = " ".join(f"{name}={os.environ[f'DB_{name.upper()}'] or "''"}" for name in NAMES)
SHOWN = """id, user_id, amount, currency, recipient_details, comment, status, failure_reason, gateway_reference,
           attempt, created_at, updated_at, processed_at"""


def pool(size: int) -> ConnectionPool:
    settings = {"autocommit": True, "row_factory": dict_row}
    return ConnectionPool(f"{WHERE} dbname={os.environ['DB_NAME']}", kwargs=settings, max_size=size, open=True)
