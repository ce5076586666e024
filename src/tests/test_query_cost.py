"""What a statement reads does not grow with the table."""

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from payouts.gateways import paid
from payouts.machine import Status
from payouts.models import Payout
from tests.make import URL, make_payout, make_processing, multiply

pytestmark = pytest.mark.django_db
# Each list shows the sixty oldest payouts, however many come after them.
FILL_STATEMENTS = """
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
        for statement in (FILL_STATEMENTS % (first, last)).split(";\n"):
            cursor.execute(statement)
        # Autovacuum does this in production.
        cursor.execute("SELECT gin_clean_pending_list('payout_by_words')")
        cursor.execute("ANALYZE payouts_payout")


def buffers_of(act):
    """How many buffers the only statement of this act reads. Rolls everything back."""
    with CaptureQueriesContext(connection) as queries, transaction.atomic():
        assert act()
        transaction.set_rollback(True)
    (statement,) = [query["sql"] for query in queries if "payouts_payout" in query["sql"]]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}")
        plan = cursor.fetchone()[0][0]["Plan"]
        transaction.set_rollback(True)
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def buffers_of_list(api, query):
    return buffers_of(lambda: api.get(f"{URL}?{query}").status_code == 200)


def test_a_list_reads_no_more_in_a_larger_table(api):
    fill(1, 1_000)
    few = {query: buffers_of_list(api, query) for query in LISTS}
    fill(1_001, 30_000)
    many = {query: buffers_of_list(api, query) for query in LISTS}
    assert {query for query in LISTS if many[query] > 1.5 * few[query] + 10} == set(), (few, many)


def test_an_attempt_reads_no_more_while_many_payouts_wait(settings):
    settings.PAYOUT_RECOVERY_INTERVAL = timedelta(0)
    fill(101, 5_000)
    # After its last ANALYZE, so PostgreSQL does not expect them.
    for payout in (make_payout(), make_processing(lease_is_over=False)):
        multiply(payout, 20_000)
    payouts = Payout.objects
    new, processing = make_payout(), make_processing(lease_is_over=False)
    acts = {
        "claim": lambda: payouts.claim(new.pk, by="a test"),
        "claim after the last one": lambda: payouts.claim_due(Status.NEW, since=new.due_at, by="a test"),
        "finish": lambda: payouts.finish(processing, paid(), by="a test"),
    }
    buffers = {name: buffers_of(act) for name, act in acts.items()}
    assert {name for name, count in buffers.items() if count > 100} == set(), buffers


def test_the_pending_list_of_the_index_of_words_is_short():
    with connection.cursor() as cursor:
        cursor.execute("SELECT reloptions FROM pg_class WHERE relname = 'payout_by_words'")
        assert cursor.fetchall() == [(["gin_pending_list_limit=256"],)]
