"""The SQL that is written by hand, each statement under its name. The ORM would take two to four times as long."""

from collections.abc import Mapping

from payouts.machine import NOW, TRANSITIONS, UPDATED, Outcome, Status, sources, transitions


def assignments(sets: Mapping[str, str]) -> str:
    return ", ".join(f"{column} = {sql}" for column, sql in sets.items())


def _in(statuses: tuple[Status, ...]) -> str:
    return ", ".join(f"'{status}'" for status in statuses)


# All claims set the same. A COMPLETED payout is taken to look whether its money came back, and stays COMPLETED.
_CLAIMS = transitions("claim")
_TARGETS = " ".join(f"WHEN '{row.source}' THEN '{row.target}'" for row in _CLAIMS)


def _claim(which: str) -> str:
    """Takes a payout for one attempt. %(lease)s later anybody may take it again."""
    return f"""
UPDATE payouts_payout
   SET status = CASE status {_TARGETS} END, {assignments(_CLAIMS[0].sets)},
       -- It is later than `taken_at` only if the clock was set back: then it stays ahead.
       updated_at = {UPDATED},
       -- The id of the request that changed the payout last stays, so that the log names it.
       changed_by = %(by)s || ' ' || split_part(changed_by, ' ', -1)
 WHERE id = {which}
   AND deleted_at IS NULL
       -- This guard decides who pays. Of several claims at once one moves `due_at` to the end of its lease, and the
       -- others, which waited for its row, find that the payout is not due.
   AND due_at <= {NOW}
       -- `status || ''` keeps PostgreSQL off the index of what is due. It expects few rows there, but after an outage
       -- there may be 100,000, and it would read them all to find one id.
   AND status || '' IN ({_in(sources(_CLAIMS))})
"""


CLAIM = _claim("%(id)s")

# Those that are due for longest. Recovery leaves a NEW one to its bell for a while, hence %(grace)s.
# One statement for each status: a scan over both would have to sort all that is due.
CLAIM_DUE = {
    status: _claim(
        # An array, because PostgreSQL may read a plain subquery again for each row, and would take more than the limit.
        f"""ANY(ARRAY(
    SELECT id FROM payouts_payout
     WHERE status = '{status}' AND deleted_at IS NULL AND due_at < {NOW} - %(grace)s
           -- While anybody's transaction is open, the index keeps what was paid meanwhile: this skips it.
       AND due_at >= coalesce(%(since)s::timestamptz, '-infinity')
     ORDER BY due_at LIMIT %(limit)s
       -- What another worker is taking is passed over, not waited for.
       FOR UPDATE SKIP LOCKED))"""
    )
    for status in sources(_CLAIMS)
}

# The INSERT itself decides, so that of two requests with the same key at the same time exactly one creates a payout.
ACCEPT = f"""
INSERT INTO payouts_payout
       (id, user_id, amount, currency, recipient_details, comment, due_at, gateway_key, changed_by, caller,
        idempotency_key, fingerprint)
VALUES (%(id)s, %(user_id)s, %(amount)s, %(currency)s, %(recipient_details)s, %(comment)s, {NOW}, %(gateway_key)s,
        %(by)s, %(caller)s, %(idempotency_key)s, %(fingerprint)s)
ON CONFLICT (caller, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
"""

# Writes what an attempt came to, by outcome and status, unless a later attempt or a person has overtaken it.
FINISH = {
    (row.name, row.source): f"""
UPDATE payouts_payout
   SET status = '{row.target}', {assignments(row.sets)},
       -- What is once known stays.
       gateway_reference = coalesce(nullif(%(gateway_reference)s, ''), gateway_reference),
       failure_reason = %(failure_reason)s, failure_code = %(failure_code)s, note = %(note)s,
       updated_at = {UPDATED}, changed_by = %(by)s
 WHERE id = %(id)s AND attempt = %(attempt)s
       -- Off the index, as in CLAIM.
   AND status || '' = '{row.source}'
"""
    for row in TRANSITIONS
    if row.name in Outcome
}
# RETURNING calls set_config in the same statement, and it holds for this transaction alone: no second round trip.
# "Paid" need not wait for the disk if the gateway says it again when asked: a crash that takes it back leaves the
# payout PROCESSING. Everything else waits: the gateway might pay what somebody has seen FAILED.
FINISH_PAID_WITHOUT_WAITING = (
    FINISH[Outcome.PAID, Status.PROCESSING] + "RETURNING set_config('synchronous_commit', 'off', true)"
)

# A notification or a person makes due what a provider is to be asked about. It never shortens a lease.
HINT = f"""
UPDATE payouts_payout
   SET due_at = {NOW}, updated_at = {UPDATED}, changed_by = %(by)s
 WHERE gateway = %(gateway)s AND gateway_key = ANY(%(keys)s) AND taken_at IS NULL AND deleted_at IS NULL
   AND status IN ('{Status.PROCESSING}', '{Status.COMPLETED}') AND coalesce(due_at, 'infinity') > {NOW}
RETURNING id
"""

# The last 24 hours, for the start page. It reads no more than %s payouts, however many there are.
RECENT = f"""
WITH recent AS (
    SELECT date_trunc('hour', created_at) AS hour, status, currency, failure_reason, amount FROM payouts_payout
     WHERE created_at > {NOW} - interval '24 hours' AND deleted_at IS NULL
     ORDER BY created_at DESC LIMIT %s)
SELECT hour, status, currency, failure_reason, count(*), sum(amount) FROM recent
 GROUP BY GROUPING SETS ((status, currency), (hour, status), (failure_reason)) ORDER BY status, count(*) DESC
"""
