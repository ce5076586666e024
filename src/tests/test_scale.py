from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from payouts.gateways import paid
from payouts.machine import Status
from payouts.models import Payout
from tests.make import URL, make_payout, make_processing, multiply

pytestmark = pytest.mark.django_db
# Each list has the same sixty payouts, the oldest ones, however many come after them.
FILL = """
ALTER TABLE payouts_payout DISABLE TRIGGER payouts_record;
INSERT INTO payouts_payout (id, user_id, amount, currency, recipient_details, comment, status, failure_reason,
                            processed_at, created_at)
SELECT gen_random_uuid(), CASE WHEN n <= 60 THEN 7 ELSE 1000 + n %% 100 END, n,
       CASE WHEN n <= 60 THEN 'EUR' ELSE 'RUB' END, '{"a": 1}', CASE WHEN n <= 60 THEN 'seldom' ELSE 'salary' END,
       CASE WHEN n <= 60 THEN 'FAILED' ELSE 'COMPLETED' END, CASE WHEN n <= 60 THEN 'No.' ELSE '' END,
       now(), now() + n * interval '1 second'
  FROM generate_series(%s, %s) AS n;
ALTER TABLE payouts_payout ENABLE TRIGGER payouts_record;
"""
LISTS = [
    "",
    "user_id=7",
    "user_id=-1",
    "status=FAILED",
    "status=COMPLETED",
    "status=NEW",
    "currency=EUR",
    "user_id=7&ordering=amount",
    "user_id=7&ordering=-amount",
    "search=seldom",
    "search=nothing",
]


def fill(first, last):
    with connection.cursor() as cursor:
        for statement in (FILL % (first, last)).split(";\n"):
            cursor.execute(statement)
        # As autovacuum does.
        cursor.execute("SELECT gin_clean_pending_list('payout_by_words')")
        cursor.execute("ANALYZE payouts_payout")


def read(act):
    """How many buffers the one statement of it reads. Nothing is kept."""
    with CaptureQueriesContext(connection) as queries, transaction.atomic():
        assert act()
        transaction.set_rollback(True)
    (asked,) = [query["sql"] for query in queries if "payouts_payout" in query["sql"]]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {asked}")
        plan = cursor.fetchone()[0][0]["Plan"]
        transaction.set_rollback(True)
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def buffers(api, query):
    return read(lambda: api.get(f"{URL}?{query}").status_code == 200)


def test_what_a_list_reads_does_not_grow_with_the_table(api):
    fill(1, 1_000)
    few = {query: buffers(api, query) for query in LISTS}
    fill(1_001, 30_000)
    many = {query: buffers(api, query) for query in LISTS}
    assert {query for query in LISTS if many[query] > 1.5 * few[query] + 10} == set(), (few, many)


def test_what_an_attempt_reads_does_not_grow_with_those_that_wait(settings):
    settings.PAYOUT_RECOVERY_INTERVAL = timedelta(0)
    fill(101, 5_000)
    # PostgreSQL has not looked at these yet.
    for waits in (make_payout(), make_processing(lease_is_over=False)):
        multiply(waits, 20_000)
    payouts = Payout.objects
    new, held = make_payout(), make_processing(lease_is_over=False)
    attempt = {
        "claim": lambda: payouts.claim(new.pk, by="a test"),
        "claim from the last one on": lambda: payouts.claim_due(Status.NEW, since=new.due_at, by="a test"),
        "finish": lambda: payouts.finish(held, paid(), by="a test"),
    }
    counted = {name: read(act) for name, act in attempt.items()}
    assert {name for name, count in counted.items() if count > 100} == set(), counted


def test_no_statement_puts_many_words_in_their_place():
    with connection.cursor() as cursor:
        cursor.execute("SELECT reloptions FROM pg_class WHERE relname = 'payout_by_words'")
        assert cursor.fetchall() == [(["gin_pending_list_limit=256"],)]
