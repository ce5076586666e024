"""What one payout costs PostgreSQL, from INSERT to COMPLETED with its history: bytes of WAL and entries in indexes."""

import psycopg

from benchmarks.peers import Peer
from tests.acceptance.service import wait_until

# Its commit waits until all WAL before it is on disk, because pg_walinspect reads no other.
MARK = "SELECT pg_logical_emit_message(true, 'benchmarks', '')"
# A GIN index collects new words in a list. Without this, only some measurements would contain the move out of the list.
MOVE_WORDS = """
SELECT gin_clean_pending_list(indexrelid)
  FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam
 WHERE amname = 'gin'"""
# VACUUM and ANALYZE write too. They start by a clock, so some measurements would contain them and some not.
AUTOVACUUM = """
ALTER TABLE payouts_payout SET (autovacuum_enabled = {0});
ALTER TABLE payouts_payoutchange SET (autovacuum_enabled = {0})"""
MEASURE = r"""
WITH log AS (
    -- Other databases on this server write into the same WAL.
    SELECT record.*, block_ref ~ format('rel \d+/%%s/', pg_database.oid) AS ours
      FROM pg_get_wal_records_info(%s, %s) AS record, pg_database WHERE datname = current_database()
)
-- Without whole pages: the first write to a page after a checkpoint contains it, however few payouts there are.
SELECT sum(record_length - fpi_length)::float,
       -- An entry that splits its page is part of the split. GIN changes its meta page once for each row in its list.
       count(*) FILTER (
           WHERE resource_manager = 'Btree' AND record_type IN ('INSERT_LEAF', 'INSERT_POST', 'SPLIT_L', 'SPLIT_R')
              OR resource_manager = 'Gin' AND record_type IN ('INSERT', 'UPDATE_META_PAGE')
       )::float
  FROM log
 -- A commit names no database, so it is found by its transaction.
 WHERE ours OR xid IN (SELECT xid FROM log WHERE ours AND xid <> '0')"""


def measure(peer: Peer, seconds: float) -> dict[str, list[float]]:
    """No values, so blank rows in the table, where PostgreSQL has no pg_walinspect or does not let us use it."""
    with peer.database.connect() as connection:
        try:
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_walinspect")
            connection.execute("CHECKPOINT")
        except psycopg.Error:
            return {"WAL bytes": [], "index entries": []}
        connection.execute(AUTOVACUUM.format("off"))
        peer.purge()
        worker = peer.start(peer.worker_command)
        # Now, and not while we measure, the first writes to most pages contain the whole page.
        pay(peer, 0.5)
        begun = mark(connection)
        count = pay(peer, seconds)
        [(size, entries)] = connection.execute(MEASURE, [begun, mark(connection)]).fetchall()
        peer.stop(worker)
        connection.execute(AUTOVACUUM.format("on"))
    return {"WAL bytes": [size / count], "index entries": [entries / count]}


def pay(peer: Peer, seconds: float) -> int:
    count = peer.load(method="POST", seconds=seconds)["count"]
    wait_until(lambda: peer.unpaid() == 0, 60, peer.log)
    return count


def mark(connection: psycopg.Connection) -> str:
    connection.execute(MOVE_WORDS)
    return connection.execute(MARK).fetchall()[0][0]
