"""The verbs of payouts: what can be asked of them, and each way in which one changes."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.postgres.search import SearchQuery, SearchVector
from django.db import connection, models
from django.db.models import Count, ExpressionWrapper, Min, Q
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now
from uuid_utils.compat import uuid7

from payouts import machine, statements
from payouts.machine import Answer, Status, Who, statuses_for
from runtime.clock import clock
from runtime.database import check_connection

# The model imports this file, so its class has no name here.
type Payout = Any
# A census counts no further, so that it never reads a whole table.
COUNT_LIMIT = 10_000
# A NEW payout that has been due for longer than this needs somebody's attention.
OVERDUE_AFTER = timedelta(minutes=1)
# Nobody knows whether it was paid: the gateway has not said it, or the worker that asked it is gone.
IN_DOUBT = Q(status=Status.PROCESSING) & (~Q(note="") | Q(due_at__lt=Now()))


def fingerprint(fields: Mapping[str, Any]) -> str:
    """The same for two requests that ask for the same."""
    return sha256(json.dumps(fields, sort_keys=True, default=str).encode()).hexdigest()


class PayoutQuerySet(models.QuerySet[Any]):
    def live(self) -> "PayoutQuerySet":
        return self.filter(deleted_at=None)

    def waiting(self) -> "PayoutQuerySet":
        """NEW ones whose time has come."""
        return self.live().filter(status=Status.NEW, due_at__lte=Now())

    def overdue(self) -> "PayoutQuerySet":
        return self.waiting().filter(due_at__lt=Now() - OVERDUE_AFTER)

    def processing(self) -> "PayoutQuerySet":
        return self.live().filter(status=Status.PROCESSING)

    def in_doubt(self) -> "PayoutQuerySet":
        """The gateway has not said whether it paid, or the worker that asked it is gone."""
        return self.processing().filter(IN_DOUBT)

    def with_doubt(self) -> "PayoutQuerySet":
        """Each payout with `is_in_doubt`, by the database's clock."""
        return self.annotate(is_in_doubt=ExpressionWrapper(IN_DOUBT, models.BooleanField()))

    def matching(self, words: str) -> "PayoutQuerySet":
        """Those with all of these words in the comment."""
        payouts = self.alias(words=SearchVector("comment", config="simple"))
        return payouts.filter(words=SearchQuery(words, config="simple"))

    def census(self, since: str) -> dict[str, Any]:
        """How many these are, counted up to COUNT_LIMIT, and since when the oldest is there."""
        # In the order of the index of what is due. Otherwise PostgreSQL might read the whole table.
        first = self.order_by("due_at")[:COUNT_LIMIT]
        return first.aggregate(number=Count("pk"), oldest=Min(since), age=Now() - Min(since))

    def claim(self, pk: UUID | str, *, by: str) -> Payout | None:
        """Takes the payout for one attempt. Of any number of claims at once, one gets it."""
        return self._claim(statements.CLAIM, by=by, id=pk)

    def claim_due(self, status: Status, *, by: str, since: datetime | None = None) -> Payout | None:
        """Takes the payout of this status that is due for longest, but not before `since`."""
        grace = settings.PAYOUT_RECOVERY_INTERVAL if status == Status.NEW else timedelta()
        return self._claim(statements.CLAIM_DUE[status], by=by, grace=grace, since=since)

    def _claim(self, statement: str, **parameters: Any) -> Payout | None:
        check_connection()
        claimed_at = clock()
        payout = self._one(statement, {"lease": settings.PAYOUT_LEASE, **parameters})
        if payout:
            lease = settings.PAYOUT_LEASE.total_seconds()
            payout.ask_before = claimed_at + lease - settings.PAYOUT_GATEWAY_TIMEOUT
        return payout

    def _one(self, statement: str, parameters: Mapping[str, Any]) -> Payout | None:
        """The row that the statement has written, in half the time that `raw()` takes."""
        columns = [field.attname for field in self.model._meta.concrete_fields]
        with connection.cursor() as cursor:
            cursor.execute(f"{statement} RETURNING {', '.join(columns)}", parameters)
            row = cursor.fetchone()
        if row is None:
            return None
        payout = self.model.from_db(self.db, columns, row)
        payout.recipient_details = json.loads(payout.recipient_details)
        return payout

    def accept(
        self, fields: Mapping[str, Any], *, by: str, caller: str = "", key: str | None = None
    ) -> tuple[Payout, bool]:
        """Creates the payout, or finds the one that this caller's key has created already."""
        payout = self._one(
            statements.ACCEPT,
            {
                **fields,
                "id": uuid7(),
                "recipient_details": json.dumps(fields["recipient_details"]),
                "by": by,
                "caller": caller,
                "idempotency_key": key,
                "fingerprint": fingerprint(fields) if key else None,
            },
        )
        return (payout, True) if payout else (self.get(caller=caller, idempotency_key=key), False)

    def finish(self, payout: Payout, answer: Answer, *, by: str, again_in: timedelta | None = None) -> bool:
        """Writes what the gateway answered, or nothing if a later attempt or a person has overtaken this one."""
        values = vars(answer) | {"id": payout.pk, "attempt": payout.attempt, "again_in": again_in, "by": by}
        # The gateway took its time, and PostgreSQL may have been restarted meanwhile.
        check_connection()
        with connection.cursor() as cursor:
            cursor.execute(statements.FINISH[answer.outcome], values)
            return cursor.rowcount == 1

    def change(self, pk: UUID, fields: Mapping[str, Any], *, by: str, **seen: Any) -> bool:
        """Makes a person's change, if the payout's status allows it and the row is as the person has `seen` it."""
        statuses = statuses_for(fields)
        return bool(statuses) and self.filter(status__in=statuses, **seen)._write(pk, fields, machine.PEOPLE, by)

    def settle_doubt(self, pk: UUID, fields: Mapping[str, Any], *, by: str, **seen: Any) -> bool:
        """Settles a payout in doubt on the provider's word, while no worker holds it."""
        free = self.in_doubt().filter(Q(taken_at=None) | Q(due_at__lt=Now()), **seen)
        return free._write(pk, fields, [Who.PROVIDERS_WORD], by)

    def remove(self, pk: UUID, *, by: str) -> bool:
        """Hides the payout from everybody but the auditor: records of money do not vanish."""
        payouts = self.exclude(status=Status.PROCESSING)
        return payouts._write(pk, {"deleted_at": Now(), "due_at": None}, machine.PEOPLE, by)

    def _write(self, pk: UUID, fields: Mapping[str, Any], who: Any, by: str) -> bool:
        """The one guarded UPDATE of a person: `self` is the guard."""
        values = {**fields, "updated_at": Now(), "changed_by": by}
        if target := fields.get("status"):
            # All transitions that lead a person to one status set the same.
            sets = machine.transitions(target=target, who=who)[0].sets
            values = {column: RawSQL(sql, ()) for column, sql in sets.items()} | {"note": ""} | values  # noqa: S611
        if target == Status.FAILED:
            values["failure_reason"] = fields.get("failure_reason") or fields.get("note") or "Refused by hand."
        return self.live().filter(pk=pk).update(**values) == 1
