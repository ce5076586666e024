import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from payouts.tests.make import URL

pytestmark = pytest.mark.django_db
# Each list has the same sixty payouts, the oldest ones, however many come after them.
FILL = """
ALTER TABLE payouts_payout DISABLE TRIGGER payouts_record;
INSERT INTO payouts_payout (id, user_id, amount, currency, recipient_details, comment, status, failure_reason,
                            processed_at, gateway_reference, submission, attempt, changed_by, caller, created_at)
SELECT gen_random_uuid(), CASE WHEN n <= 60 THEN 7 ELSE 1000 + n %% 100 END, n,
       CASE WHEN n <= 60 THEN 'EUR' ELSE 'RUB' END, '{"a": 1}', CASE WHEN n <= 60 THEN 'seldom' ELSE 'salary' END,
       CASE WHEN n <= 60 THEN 'FAILED' ELSE 'COMPLETED' END, CASE WHEN n <= 60 THEN 'No.' ELSE '' END,
       now(), '', 1, 1, '', '', now() + n * interval '1 second'
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


def buffers(api, query):
    with CaptureQueriesContext(connection) as queries:
        assert api.get(f"{URL}?{query}").status_code == 200
    (asked,) = queries
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {asked['sql']}")
        plan = cursor.fetchone()[0][0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def test_what_a_list_reads_does_not_grow_with_the_table(api):
    fill(1, 1_000)
    few = {query: buffers(api, query) for query in LISTS}
    fill(1_001, 30_000)
    many = {query: buffers(api, query) for query in LISTS}
    assert {query for query in LISTS if many[query] > 1.5 * few[query] + 10} == set(), (few, many)
