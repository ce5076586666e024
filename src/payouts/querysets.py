"""The verbs of payouts: what can be asked of them, and each way in which one changes."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid5

from django.conf import settings
from django.contrib.postgres.search import SearchQuery, SearchVector
from django.db import connection, models
from django.db.models import Case, Count, Min, Q, Value, When
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now
from uuid_utils.compat import uuid7

from payouts import machine, statements
from payouts.machine import Answer, Outcome, Status, statuses_for
from runtime.clock import clock
from runtime.database import give_back_connection

# The model imports this file, so its class has no name here.
type Payout = Any
# A census counts no further, so that it never reads a whole table.
COUNT_LIMIT = 10_000
# A NEW payout that has been due for longer than this needs somebody's attention.
OVERDUE_AFTER = timedelta(minutes=1)
# What people see of a PROCESSING payout beside its status: the first of these that holds. Where none does, a worker
# has it in hand.
WAITS = Q(status=Status.PROCESSING, due_at=None)
PENDING = Q(status=Status.PROCESSING, due_at__isnull=False, pending_since__isnull=False)
# Nobody knows whether it was paid: the gateway has not said it plainly, or the worker that asked it is gone.
IN_DOUBT = Q(status=Status.PROCESSING, due_at__isnull=False, pending_since=None, asked_at__isnull=False) & (
    ~Q(note="") | Q(due_at__lt=Now())
)
# Certainly nobody has it under its key: the provider was away, or busy.
UNSENT = Q(status=Status.PROCESSING, due_at__isnull=False, pending_since=None, asked_at=None)
STAGES = {"WAITS": WAITS, "PENDING": PENDING, "DOUBT": IN_DOUBT, "UNSENT": UNSENT}
# Nobody holds it: it waits for its time, or the lease is over.
IS_FREE = Q(taken_at=None) | Q(due_at__lt=Now())


@cache
def installation() -> UUID:
    """This database's own id. It never changes."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM payouts_installation")
        return UUID(str(cursor.fetchone()[0]))


def gateway_key(payout: Mapping[str, Any], submission: int) -> UUID:
    """
    The provider's key for one submission.

    A row that a failover has lost, and that its caller sends again, gets the same key: to the provider it is the same
    payment.
    """
    identities = (("key", payout["idempotency_key"]), ("external", payout["external_id"]), ("id", str(payout["id"])))
    kind, value = next((kind, value) for kind, value in identities if value is not None)
    return uuid5(installation(), json.dumps([kind, payout["caller"], value, submission]))


def fingerprint(fields: Mapping[str, Any]) -> str:
    """The same for two requests that ask for the same."""
    return sha256(json.dumps(fields, sort_keys=True, default=str).encode()).hexdigest()


class PayoutQuerySet(models.QuerySet[Any]):
    """
    `claim`, `claim_due`, `accept`, `finish` and `hint` are statements of their own, and take no notice of filters.

    The verbs of people are guarded by the filters of `self`.
    """

    def live(self) -> "PayoutQuerySet":
        return self.filter(deleted_at=None)

    def waiting(self) -> "PayoutQuerySet":
        """NEW ones whose time has come."""
        return self.live().filter(status=Status.NEW, due_at__lte=Now())

    def overdue(self) -> "PayoutQuerySet":
        return self.waiting().filter(due_at__lt=Now() - OVERDUE_AFTER)

    def processing(self) -> "PayoutQuerySet":
        return self.live().filter(status=Status.PROCESSING)

    def hinted(self) -> "PayoutQuerySet":
        """COMPLETED ones of which somebody has said that their money may have come back."""
        return self.live().filter(status=Status.COMPLETED, due_at__isnull=False)

    def in_doubt(self) -> "PayoutQuerySet":
        return self.live().filter(IN_DOUBT)

    def pending(self) -> "PayoutQuerySet":
        """The provider works on these."""
        return self.live().filter(PENDING)

    def waiting_for_person(self) -> "PayoutQuerySet":
        return self.live().filter(WAITS)

    def to_settle(self) -> "PayoutQuerySet":
        """What a person may settle on the provider's word: the outcome is open, and no worker holds the payout."""
        return self.live().filter(IN_DOUBT | PENDING | WAITS | UNSENT).filter(IS_FREE)

    def with_stage(self) -> "PayoutQuerySet":
        """Each payout with its `stage`, which says what its status does not, by the database's clock."""
        stages = [When(condition, then=Value(stage)) for stage, condition in STAGES.items()]
        return self.annotate(stage=Case(*stages, default=Value("")))

    def matching(self, words: str) -> "PayoutQuerySet":
        """Those with all of these words in the comment."""
        payouts = self.alias(words=SearchVector("comment", config="simple"))
        return payouts.filter(words=SearchQuery(words, config="simple"))

    def census(self, since: str) -> dict[str, Any]:
        """How many these are, counted up to COUNT_LIMIT, and since when the oldest is there."""
        # In the order of the index of what is due. Otherwise PostgreSQL might read the whole table.
        first = self.order_by("due_at")[:COUNT_LIMIT]
        return first.aggregate(number=Count("pk"), oldest=Min(since), age=Now() - Min(since))

    def key_ages(self) -> list[tuple[str, timedelta]]:
        """For each gateway the age of the oldest key that a worker may send again, of as many as a census counts."""
        first = self.processing().filter(asked_at__isnull=False, due_at__isnull=False).order_by("due_at")[:COUNT_LIMIT]
        ages = self.filter(pk__in=first.values("pk")).values("gateway").annotate(age=Now() - Min("asked_at"))
        return [(each["gateway"], each["age"]) for each in ages.order_by("gateway")]

    def claim(self, pk: UUID | str, *, by: str) -> Payout | None:
        """Takes the payout for one attempt. Of any number of claims at once, one gets it."""
        return next(iter(self._claim(statements.CLAIM, by=by, id=pk)), None)

    def claim_due(self, status: Status, *, by: str, limit: int = 1, since: datetime | None = None) -> list[Payout]:
        """Takes those of this status that are due for longest, of what is due since then or later."""
        grace = settings.PAYOUT_RECOVERY_INTERVAL if status == Status.NEW else timedelta()
        return self._claim(statements.CLAIM_DUE[status], by=by, grace=grace, since=since, limit=limit)

    def _claim(self, statement: str, **parameters: Any) -> list[Payout]:
        claimed_at = clock()
        routes = json.dumps(settings.PAYOUT_ROUTES)
        try:
            payouts = self._rows(statement, {"lease": settings.PAYOUT_LEASE, "routes": routes, **parameters})
        finally:
            # The provider is asked without a connection in hand.
            give_back_connection()
        for payout in payouts:
            payout.claimed_at = claimed_at
            # By the database's clock, which is the same for all workers.
            payout.was_asked_before = payout.asked_at != payout.taken_at
            payout.asked_ago = payout.taken_at - payout.asked_at
            payout.pending_for = payout.taken_at - (payout.pending_since or payout.taken_at)
            payout.clock_was_set_back = payout.updated_at > payout.taken_at
        return payouts

    def _rows(self, statement: str, parameters: Mapping[str, Any]) -> list[Payout]:
        """The rows that the statement has written, in half the time that `raw()` takes."""
        columns = [field.attname for field in self.model._meta.concrete_fields]
        with connection.cursor() as cursor:
            cursor.execute(f"{statement} RETURNING {', '.join(columns)}", parameters)
            payouts = [self.model.from_db(self.db, columns, row) for row in cursor.fetchall()]
        for payout in payouts:
            # The cursor brings JSON as text.
            payout.recipient_details = json.loads(payout.recipient_details)
        return payouts

    def accept(
        self, fields: Mapping[str, Any], *, by: str, caller: str = "", key: str | None = None
    ) -> tuple[Payout, bool]:
        """Creates the payout, or finds the one that this caller's key has created already."""
        row = {
            **fields,
            "id": uuid7(),
            "external_id": None,
            "caller": caller,
            "idempotency_key": key,
            "fingerprint": fingerprint(fields) if key else None,
            "by": by,
        }
        row["gateway_key"] = gateway_key(row, submission=1)
        row["recipient_details"] = json.dumps(fields["recipient_details"])
        for payout in self._rows(statements.ACCEPT, row):
            return payout, True
        return self.get(caller=caller, idempotency_key=key), False

    def finish(
        self, payout: Payout, answer: Answer, *, by: str, again_in: timedelta | None = None, is_repeatable: bool = False
    ) -> bool:
        """
        Writes what the gateway answered, or nothing if a later attempt or a person has overtaken this one.

        An answer that the gateway repeats when asked need not wait for the disk.
        """
        statement = statements.FINISH[answer.outcome, payout.status]
        if is_repeatable and (answer.outcome, payout.status) == (Outcome.PAID, Status.PROCESSING):
            statement = statements.FINISH_PAID_WITHOUT_WAITING
        values = vars(answer) | {"id": payout.pk, "attempt": payout.attempt, "again_in": again_in, "by": by}
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement, values)
                return cursor.rowcount == 1
        finally:
            give_back_connection()

    def is_finished(self, payout: Payout) -> bool:
        """Whether the outcome of this attempt is written: nobody else takes it off without a new attempt."""
        try:
            return self.filter(pk=payout.pk, attempt=payout.attempt, taken_at=None).exists()
        finally:
            give_back_connection()

    def hint(self, gateway: str, keys: list[UUID], *, by: str) -> list[UUID]:
        """Makes due those of these keys that the provider may be asked about, and shortens no lease."""
        with connection.cursor() as cursor:
            cursor.execute(statements.HINT, {"gateway": gateway, "keys": keys, "by": by})
            return [pk for (pk,) in cursor.fetchall()]

    def change(self, pk: UUID, fields: Mapping[str, Any], *, by: str, **seen: Any) -> bool:
        """Makes a person's change, if the payout's status allows it and the row is as the person has `seen` it."""
        statuses, target = statuses_for(fields), fields.get("status")
        if not statuses:
            return False
        rows = machine.transitions(target=target, who=machine.PEOPLE) if target else ()
        return self.filter(status__in=statuses, **seen)._write(pk, fields, rows, by)

    def settle_doubt(self, pk: UUID, fields: Mapping[str, Any], *, by: str, **seen: Any) -> bool:
        """Settles on the provider's word what is in doubt, pending or waits for a person, while no worker holds it."""
        rows = machine.transitions("settle_doubt", target=fields["status"])
        return bool(rows) and self.to_settle().filter(**seen)._write(pk, fields, rows, by)

    def send_again(self, pk: UUID, fields: Mapping[str, Any], *, by: str, **seen: Any) -> bool:
        """Has it sent again under the same key, on the provider's word that nothing was booked."""
        return self.filter(WAITS, **seen)._write(pk, fields, machine.transitions("send_again"), by)

    def look_again(self, pk: UUID, fields: Mapping[str, Any], *, by: str, **seen: Any) -> bool:
        """Has a worker look whether the money of a COMPLETED payout came back."""
        payouts = self.filter(status=Status.COMPLETED, taken_at=None, **seen).exclude(gateway="")
        return payouts._write(pk, fields, machine.transitions("look"), by)

    def remove(self, pk: UUID, *, by: str) -> bool:
        """Hides the payout from everybody but the auditor: records of money do not vanish."""
        payouts = self.exclude(status=Status.PROCESSING).filter(taken_at=None)
        return payouts._write(pk, {"deleted_at": Now(), "due_at": None}, (), by)

    def _write(self, pk: UUID, fields: Mapping[str, Any], rows: Sequence[machine.Transition], by: str) -> bool:
        """The one guarded UPDATE of a person: `self` is the guard. All of these rows set the same."""
        payouts, target = self.live().filter(pk=pk), fields.get("status")
        sets = {"updated_at": machine.UPDATED, **(rows[0].sets if rows else {})}
        values = {column: RawSQL(sql, ()) for column, sql in sets.items()} | {**fields, "changed_by": by}  # noqa: S611
        if target:
            values.setdefault("note", "")
        if target == Status.FAILED:
            values["failure_reason"] = fields.get("failure_reason") or fields.get("note") or "Refused by hand."
        if target == Status.NEW:
            row = payouts.values("id", "external_id", "caller", "idempotency_key", "submission").first()
            if row is None:
                return False
            payouts = payouts.filter(submission=row["submission"])
            values["gateway_key"] = gateway_key(row, row["submission"] + 1)
        return payouts.update(**values) == 1
