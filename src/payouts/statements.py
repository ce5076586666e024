"""The SQL that is written by hand, each statement under its name. The ORM would take two to four times as long."""

from collections.abc import Mapping

from payouts.machine import NOW, TRANSITIONS, Outcome, Status, sources, transitions


def assignments(sets: Mapping[str, str]) -> str:
    return ", ".join(f"{column} = {sql}" for column, sql in sets.items())


def _in(statuses: tuple[Status, ...]) -> str:
    return ", ".join(f"'{status}'" for status in statuses)


_CLAIMS = transitions("claim")

# Takes a payout for one attempt. %(lease)s later anybody may take it again.
_CLAIM = f"""
UPDATE payouts_payout
   SET status = '{Status.PROCESSING}', {assignments(_CLAIMS[0].sets)}, updated_at = {NOW},
       -- The id of the request that changed the payout last stays, so that the log names it.
       changed_by = %(by)s || ' ' || split_part(changed_by, ' ', -1)
 WHERE id = {{id}} AND deleted_at IS NULL
       -- This guard decides who pays. Of several claims at once one moves `due_at` to the end of its lease, and the
       -- others, which waited for its row, find that the payout is not due.
   AND due_at <= {NOW}
       -- `status || ''` keeps PostgreSQL off the index of what is due. It expects few rows there, but after an outage
       -- there may be 100,000, and it would read them all to find one id.
   AND status || '' IN ({_in(sources(_CLAIMS))})
"""

CLAIM = _CLAIM.format(id="%(id)s")

# The payout that is due for longest. Recovery leaves a NEW one to its bell for a while, hence %(grace)s.
# One statement for each status: a scan over both would have to sort all that is due.
CLAIM_DUE = {
    status: _CLAIM.format(
        id=f"""(
    SELECT id FROM payouts_payout
     WHERE status = '{status}' AND deleted_at IS NULL AND due_at < {NOW} - %(grace)s
           -- While anybody's transaction is open, the index keeps what was paid meanwhile: this skips it.
       AND due_at >= coalesce(%(since)s::timestamptz, '-infinity')
     ORDER BY due_at LIMIT 1
       -- What another worker is taking is passed over, not waited for.
       FOR UPDATE SKIP LOCKED)"""
    )
    for status in sources(_CLAIMS)
}

# The INSERT itself decides, so that of two requests with the same key at the same time exactly one creates a payout.
ACCEPT = f"""
INSERT INTO payouts_payout
       (id, user_id, amount, currency, recipient_details, comment, due_at, changed_by, caller, idempotency_key,
        fingerprint)
VALUES (%(id)s, %(user_id)s, %(amount)s, %(currency)s, %(recipient_details)s, %(comment)s, {NOW}, %(by)s, %(caller)s,
        %(idempotency_key)s, %(fingerprint)s)
ON CONFLICT (caller, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
"""

# Writes what an attempt came to, unless a later attempt or a person has overtaken it.
FINISH = {
    row.name: f"""
UPDATE payouts_payout
   SET status = '{row.target}', {assignments(row.sets)}, gateway_reference = %(gateway_reference)s,
       failure_reason = %(failure_reason)s, note = %(note)s, updated_at = {NOW}, changed_by = %(by)s
 WHERE id = %(id)s AND attempt = %(attempt)s
       -- Off the index, as in CLAIM.
   AND status || '' = '{row.source}'
"""
    for row in TRANSITIONS
    if row.name in Outcome
}
# "Paid" does not wait for the disk. A crash that takes it back leaves the payout PROCESSING, and the gateway says it
# again to the same key. "Refused" waits: the gateway might pay what somebody has seen FAILED.
FINISH[Outcome.PAID] += "RETURNING set_config('synchronous_commit', 'off', true)"

# The last 24 hours, for the start page. It reads no more than %s payouts, however many there are.
RECENT = f"""
WITH recent AS (
    SELECT date_trunc('hour', created_at) AS hour, status, currency, failure_reason, amount FROM payouts_payout
     WHERE created_at > {NOW} - interval '24 hours' AND deleted_at IS NULL
     ORDER BY created_at DESC LIMIT %s)
SELECT hour, status, currency, failure_reason, count(*), sum(amount) FROM recent
 GROUP BY GROUPING SETS ((status, currency), (hour, status), (failure_reason)) ORDER BY status, count(*) DESC
"""
