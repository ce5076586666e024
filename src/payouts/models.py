"""What a payout is, what may become of it, and the statements that change it."""

import json
import math
import secrets
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchQuery, SearchVector
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import connection, models
from django.db.models import Count, F, Func, Min, Q, Value
from django.db.models.functions import Cast, Length, Now
from django.db.models.lookups import Exact, LessThanOrEqual
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _
from uuid_utils.compat import uuid7

from config.health import look_at_connection
from config.tracing import actor, changed_by

AMOUNT_MIN = Decimal("0.01")
AMOUNT_DIGITS = 12
AMOUNT_PLACES = 2
AMOUNT_MAX = 10 ** (AMOUNT_DIGITS - AMOUNT_PLACES) - AMOUNT_MIN
TEXT_MAX_LENGTH = 1000
REFERENCE_MAX_LENGTH = 255
IDEMPOTENCY_KEY_MAX_LENGTH = 255
DETAILS_MAX_BYTES = 16 * 1024
DETAILS_MAX_DEPTH = 32
COUNT_LIMIT = 10_000

# What is to be paid: it can be changed only while the payout is NEW, or on its way back there.
MONEY = ("user_id", "amount", "currency", "recipient_details")
OUTCOME = ("status", "failure_reason", "gateway_reference")
TIMES = ("created_at", "updated_at", "processed_at")
TEXTS = ("comment", "failure_reason", "note")


class Currency(models.TextChoices):
    RUB = "RUB", _("Russian rouble")
    USD = "USD", _("US dollar")
    EUR = "EUR", _("Euro")


class Status(models.TextChoices):
    NEW = "NEW", _("New")
    PROCESSING = "PROCESSING", _("Processing")
    COMPLETED = "COMPLETED", _("Completed")
    FAILED = "FAILED", _("Failed")
    CANCELLED = "CANCELLED", _("Cancelled")


INDEXED = (Status.NEW, Status.FAILED, Status.CANCELLED)
PAID_OR_REFUSED = (Status.COMPLETED, Status.FAILED)
# What a person may turn a payout into. A PROCESSING one belongs to the worker; only `settle` takes it away.
BY_HAND: Mapping[str, tuple[Status, ...]] = {
    Status.NEW: (Status.CANCELLED, Status.COMPLETED, Status.FAILED),
    Status.FAILED: (Status.NEW,),
}


def validate_recipient_details(details: object) -> None:
    if not isinstance(details, dict) or not details:
        raise ValidationError(_("Must be a JSON object that is not empty."))
    # PostgreSQL writes numbers without an exponent: 1e300 takes 301 bytes there.
    longer_in_jsonb = 0
    todo: list[tuple[Any, int]] = [(details, 1)]
    while todo:
        value, depth = todo.pop()
        if isinstance(value, dict | list):
            if depth > DETAILS_MAX_DEPTH:
                raise ValidationError(_("Nested deeper than %(limit)d levels.") % {"limit": DETAILS_MAX_DEPTH})
            inner = (*value, *value.values()) if isinstance(value, dict) else value
            todo += [(item, depth + 1) for item in inner]
        elif isinstance(value, str) and "\0" in value:
            raise ValidationError(_("Null characters are not allowed."))
        elif isinstance(value, float):
            if not math.isfinite(value):
                raise ValidationError(_("Numbers must be finite."))
            longer_in_jsonb += len(f"{Decimal(repr(value)):f}") - len(repr(value))
    try:
        size = len(json.dumps(details, ensure_ascii=False).encode()) + longer_in_jsonb
    except UnicodeEncodeError as error:
        raise ValidationError(_("Lone surrogates are not allowed.")) from error
    if size > DETAILS_MAX_BYTES:
        raise ValidationError(_("Longer than %(limit)d bytes.") % {"limit": DETAILS_MAX_BYTES})


def fingerprint(fields: Mapping[str, Any]) -> str:
    """The same for requests of the same meaning: their amount has two places by now, and 1.0 is read as 1."""
    read = partial(json.loads, parse_float=lambda text: int(float(text)) if float(text).is_integer() else float(text))
    return sha256(json.dumps(read(json.dumps(fields, default=str)), sort_keys=True).encode()).hexdigest()


def clocks() -> tuple[float, float]:
    """One goes on while the machine sleeps, the other while somebody sets the first one back."""
    return time.time(), time.monotonic()


def statuses_for(fields: Mapping[str, Any]) -> set[str]:
    """The statuses in which a person may make this change."""
    target = fields.get("status")
    allowed = {s.value for s in Status} - {Status.PROCESSING}
    if target:
        allowed = {source for source, targets in BY_HAND.items() if target in targets}
    if fields.keys() & {*MONEY}:
        allowed &= {Status.FAILED if target == Status.NEW else Status.NEW}
    if ("failure_reason" in fields and target != Status.FAILED) or (
        "gateway_reference" in fields and target not in PAID_OR_REFUSED
    ):
        return set()
    return allowed


class PayoutQuerySet(models.QuerySet["Payout"]):
    def live(self) -> "PayoutQuerySet":
        return self.filter(deleted_at=None)

    def saying(self, words: str) -> "PayoutQuerySet":
        """With all of these words in the comment."""
        payouts = self.alias(words=SearchVector("comment", config="simple"))
        return payouts.filter(words=SearchQuery(words, config="simple"))

    def in_doubt(self) -> "PayoutQuerySet":
        """The gateway has not said whether it paid, or the worker that asked is gone."""
        return self.filter(~Q(note="") | Q(lease_until__lt=Now()), status=Status.PROCESSING)

    def census(self, order: str) -> dict[str, Any]:
        """Their number, counted up to COUNT_LIMIT, and when the oldest was created and how old it is."""
        # In the order of the index that holds only these rows; otherwise PostgreSQL might search all others.
        few = self.live().order_by(order)[:COUNT_LIMIT]
        return few.aggregate(number=Count("pk"), oldest=Min("created_at"), age=Now() - Min("created_at"))

    def claim(self, pk: UUID | str) -> "Payout | None":
        """Takes the payout for one attempt. Of any number of claims at once, one gets the row."""
        return self._claim("%(id)s", id=pk)

    def claim_due(self, status: Status, since: datetime | None = None) -> "Payout | None":
        """Takes the NEW one that waits longest for its bell to be answered, or the one whose lease ran out first."""
        waiting, leased = ("created_at", settings.PAYOUT_RECOVERY_INTERVAL), ("lease_until", timedelta())
        column, waited = waiting if status == Status.NEW else leased
        return self._claim(
            f"""(SELECT id FROM payouts_payout
                 WHERE status = '{status}' AND deleted_at IS NULL AND {column} < statement_timestamp() - %(waited)s
                   AND {column} >= coalesce(%(since)s::timestamptz, '-infinity')
                 ORDER BY {column} LIMIT 1 FOR UPDATE SKIP LOCKED)""",  # noqa: S608
            waited=waited,
            since=since,
        )

    def _claim(self, which: str, **parameters: Any) -> "Payout | None":
        look_at_connection()
        asked = clocks()
        # `claim` has locked nothing before, so this guard decides; a subquery has locked the row that it names.
        # The request id of the last change stays; the note of a NEW one is a person's reason, not a doubt.
        payout = self._one(
            f"""
            UPDATE payouts_payout
               SET status = 'PROCESSING', attempt = attempt + 1,
                   note = CASE WHEN status = 'NEW' THEN '' ELSE note END,
                   lease_until = statement_timestamp() + %(lease)s,
                   updated_at = statement_timestamp(),
                   changed_by = %(actor)s || ' ' || split_part(changed_by, ' ', -1)
             WHERE id = {which} AND deleted_at IS NULL
               AND (status = 'NEW' OR (status = 'PROCESSING' AND lease_until < statement_timestamp()))
            """,  # noqa: S608
            {"lease": settings.PAYOUT_LEASE, "actor": actor.get(), **parameters},
        )
        if payout:
            rest = settings.PAYOUT_LEASE.total_seconds() - settings.PAYOUT_GATEWAY_TIMEOUT
            payout.ask_until = [clock + rest for clock in asked]
        return payout

    def _one(self, statement: str, parameters: Mapping[str, Any]) -> "Payout | None":
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

    def accept(self, fields: Mapping[str, Any], key: str | None = None, caller: str = "") -> "tuple[Payout, bool]":
        """Creates the payout, or finds the one that this caller's key has created already."""
        # The INSERT decides, so of two at the same moment exactly one creates.
        payout = self._one(
            """
            INSERT INTO payouts_payout
                   (id, user_id, amount, currency, recipient_details, comment, status, failure_reason,
                    gateway_reference, submission, attempt, changed_by, caller, idempotency_key, fingerprint)
            VALUES (%(id)s, %(user_id)s, %(amount)s, %(currency)s, %(details)s, %(comment)s, 'NEW', '',
                    '', 1, 0, %(by)s, %(caller)s, %(key)s, %(fingerprint)s)
            ON CONFLICT (caller, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
            """,
            {
                **fields,
                "id": uuid7(),
                "details": json.dumps(fields["recipient_details"]),
                "by": changed_by(),
                "caller": caller,
                "key": key,
                "fingerprint": fingerprint(fields) if key else None,
            },
        )
        return (payout, True) if payout else (self.get(caller=caller, idempotency_key=key), False)

    def finish(self, payout: "Payout", status: Status, again_in: timedelta | None = None, **said: str) -> bool:
        """Writes what the gateway said, and when to ask again; or nothing, if a later attempt or a person has it."""
        values: dict[str, Any] = {"reference": "", "reason": "", "note": "", **said}
        values |= {"status": status, "again_in": again_in, "by": changed_by()}
        # The gateway took its time, and PostgreSQL may have been restarted meanwhile.
        look_at_connection()
        with connection.cursor() as cursor:
            # `status || ''` keeps PostgreSQL off the index of the PROCESSING. It expects few of them, but after an
            # outage of the gateway there may be 100,000, all read to find one id.
            # "Paid" does not wait for the disk: a crash that takes it back leaves the row PROCESSING, and the gateway
            # says it again to the same key. "Refused" waits: the gateway might pay what somebody has seen FAILED.
            cursor.execute(
                """
                UPDATE payouts_payout
                   SET status = %(status)s, gateway_reference = %(reference)s, failure_reason = %(reason)s,
                       note = %(note)s,
                       processed_at = CASE WHEN %(again_in)s::interval IS NULL THEN statement_timestamp() END,
                       lease_until = statement_timestamp() + %(again_in)s,
                       updated_at = statement_timestamp(), changed_by = %(by)s
                 WHERE id = %(id)s AND attempt = %(attempt)s AND status || '' = 'PROCESSING'
                RETURNING CASE WHEN status = 'COMPLETED' THEN set_config('synchronous_commit', 'off', true) END
                """,
                values | {"id": payout.pk, "attempt": payout.attempt},
            )
            return cursor.rowcount == 1

    def change(self, pk: UUID, fields: Mapping[str, Any], **seen: Any) -> bool:
        """Changes a payout by hand, if its status allows that and the row still is what the person has `seen`."""
        return self.filter(status__in=statuses_for(fields), **seen)._by_hand(pk, fields)

    def settle(self, pk: UUID, fields: Mapping[str, Any], **seen: Any) -> bool:
        """Settles a payout in doubt by hand, on the gateway's word. The new attempt number fences off its worker."""
        return self.in_doubt().filter(**seen)._by_hand(pk, {**fields, "attempt": F("attempt") + 1, "lease_until": None})

    def _by_hand(self, pk: UUID, fields: Mapping[str, Any]) -> bool:
        values = {**fields, "updated_at": Now(), "changed_by": changed_by()}
        if "status" in fields:
            values.setdefault("note", "")
        match fields.get("status"):
            case Status.COMPLETED:
                values |= {"processed_at": Now()}
            case Status.FAILED:
                reason = fields.get("failure_reason") or fields.get("note") or "Refused by hand."
                values |= {"processed_at": Now(), "failure_reason": reason}
            case Status.NEW:
                # A new submission is a new key for the gateway, which may replay its refusal of the old one for ever.
                values |= {"submission": F("submission") + 1, "processed_at": None}
                values |= {"failure_reason": "", "gateway_reference": ""}
        return self.live().filter(pk=pk).update(**values) == 1

    def remove(self, pk: UUID) -> bool:
        """Deletes for everybody but the auditor: records of money do not vanish."""
        return self.exclude(status=Status.PROCESSING)._by_hand(pk, {"deleted_at": Now()})


def check(name: str, condition: Any) -> models.CheckConstraint:
    return models.CheckConstraint(name=f"payout_{name}", condition=condition)


DETAILS = Cast("recipient_details", models.TextField())
DETAILS_TYPE = Func("recipient_details", function="jsonb_typeof", output_field=models.TextField())
DETAILS_SIZE = Func(DETAILS, function="octet_length", output_field=models.IntegerField())
TOO_DEEP = Value(f'strict $.**{{{DETAILS_MAX_DEPTH}}} ? (@.type() == "object" || @.type() == "array")')
DETAILS_TOO_DEEP = Func("recipient_details", TOO_DEEP, function="jsonb_path_exists", output_field=models.BooleanField())


class Payout(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user_id = models.BigIntegerField(
        _("user"), null=True, blank=True, help_text=_("Whose payout it is in the caller's system.")
    )
    amount = models.DecimalField(
        _("amount"), max_digits=AMOUNT_DIGITS, decimal_places=AMOUNT_PLACES, validators=[MinValueValidator(AMOUNT_MIN)]
    )
    currency = models.CharField(_("currency"), max_length=3, choices=Currency)
    recipient_details = models.JSONField(
        _("recipient details"),
        validators=[validate_recipient_details],
        help_text=_("Where the money goes: a JSON object."),
    )
    comment = models.TextField(_("comment"), blank=True, default="", max_length=TEXT_MAX_LENGTH)
    status = models.CharField(_("status"), max_length=10, choices=Status, default=Status.NEW)
    failure_reason = models.TextField(_("failure reason"), blank=True, default="", max_length=TEXT_MAX_LENGTH)
    gateway_reference = models.TextField(
        _("gateway reference"), blank=True, default="", max_length=REFERENCE_MAX_LENGTH
    )
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)
    updated_at = models.DateTimeField(_("updated"), db_default=Now(), editable=False)
    processed_at = models.DateTimeField(_("processed"), null=True, editable=False)

    # How many times it was submitted under a new key, and how many times a worker took it.
    submission = models.IntegerField(default=1, editable=False)
    attempt = models.IntegerField(_("attempts"), default=0, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)
    deleted_at = models.DateTimeField(_("deleted"), null=True, editable=False)
    changed_by = models.TextField(default="", editable=False)
    # Why its outcome is unknown, or why a person changed its status.
    note = models.TextField(_("note"), default="", db_default="", max_length=TEXT_MAX_LENGTH, editable=False)
    caller = models.TextField(_("caller"), default="", editable=False)
    idempotency_key = models.TextField(null=True, editable=False)
    fingerprint = models.TextField(null=True, editable=False)

    ask_until: list[float]  # when the rest of its lease is too short for a gateway call, by `clocks`
    objects = PayoutQuerySet.as_manager()

    class Meta:
        verbose_name = _("payout")
        verbose_name_plural = _("payouts")
        ordering = ("-created_at", "-id")
        permissions = [
            ("view_card_numbers", "Can view whole card numbers"),
            ("settle_payout", "Can settle payouts by hand"),
        ]
        indexes = [
            models.Index("created_at", "id", name="payout_by_creation"),
            models.Index("currency", "created_at", "id", name="payout_by_currency"),
            models.Index("user_id", "created_at", "id", name="payout_by_user", condition=Q(user_id__isnull=False)),
            models.Index("user_id", "amount", "id", name="payout_by_user_amount", condition=Q(user_id__isnull=False)),
            # Recovery reads only these two, so ten million finished payouts cost it nothing. COMPLETED is left out:
            # a list of them reads payout_by_creation, and an entry would be one more write for every payout.
            models.Index("status", "created_at", "id", name="payout_by_status", condition=Q(status__in=INDEXED)),
            models.Index("lease_until", name="payout_processing", condition=Q(status=Status.PROCESSING)),
            # The write that fills the list of new words moves all into the index: 4 MB, the default, take a second.
            GinIndex(SearchVector("comment", config="simple"), name="payout_by_words", gin_pending_list_limit=256),
        ]
        constraints = [
            check("amount", Q(amount__range=(AMOUNT_MIN, AMOUNT_MAX))),
            check("currency", Q(currency__in=Currency)),
            check("status", Q(status__in=Status)),
            *(check(text, LessThanOrEqual(Length(text), TEXT_MAX_LENGTH)) for text in TEXTS),
            check("gateway_reference", LessThanOrEqual(Length("gateway_reference"), REFERENCE_MAX_LENGTH)),
            check("idempotency_key_length", LessThanOrEqual(Length("idempotency_key"), IDEMPOTENCY_KEY_MAX_LENGTH)),
            check("details_object", ~Q(recipient_details={}) & Q(Exact(DETAILS_TYPE, "object"))),
            check("details_size", LessThanOrEqual(DETAILS_SIZE, DETAILS_MAX_BYTES)),
            check("details_depth", ~Q(DETAILS_TOO_DEEP)),
            # These columns are set exactly when the status calls for them.
            check("lease", Exact(Q(status=Status.PROCESSING), Q(lease_until__isnull=False))),
            check("processed", Exact(Q(status__in=PAID_OR_REFUSED), Q(processed_at__isnull=False))),
            check("reason_of_failure", Exact(Q(status=Status.FAILED), ~Q(failure_reason=""))),
            models.UniqueConstraint(
                name="payout_idempotency_key",
                fields=["caller", "idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)

    @property
    def key(self) -> str:
        """What the gateway knows it by."""
        return f"{self.pk}:{self.submission}"

    @property
    def is_in_doubt(self) -> bool:
        return bool(self.lease_until and (self.note or self.lease_until < now()))


class PayoutChange(models.Model):
    """One change of a payout, written by a trigger, so that nothing changes unseen. It outlives the row."""

    payout_id = models.UUIDField()
    at = models.DateTimeField()
    operation = models.TextField()
    changed_by = models.TextField()
    # Decimals stay as they are written, so that an amount of 5.00 is not 5.0.
    changes = models.JSONField(decoder=partial(json.JSONDecoder, parse_float=str))  # type: ignore[arg-type]

    class Meta:
        verbose_name = _("change")
        verbose_name_plural = _("changes")
        # The id is drawn while the row is locked, so it tells the order even where the clock is set back.
        ordering = ("id",)
        indexes = [models.Index("payout_id", "id", name="payout_change_by_payout")]

    def __str__(self) -> str:
        return f"{self.payout_id} {self.at}"


class Token(models.Model):
    user = models.ForeignKey(User, models.CASCADE, verbose_name=_("account"))
    name = models.CharField(_("name"), max_length=100)
    digest = models.BinaryField(unique=True)
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)
    used_at = models.DateTimeField(_("last used"), null=True, editable=False)

    class Meta:
        verbose_name = _("token")
        verbose_name_plural = _("tokens")

    def __str__(self) -> str:
        return self.name

    def issue(self) -> str:
        """Saves the token and returns its secret, this once. SHA-256 is enough: nobody guesses 32 random bytes."""
        secret = secrets.token_hex(32)
        self.digest = sha256(secret.encode()).digest()
        self.save()
        return secret

    @classmethod
    def find(cls, secret: str) -> tuple[User, int] | None:
        """The account that the secret belongs to, and the token's id."""
        digest = sha256(secret.encode()).digest()
        token = cls.objects.select_related("user").filter(digest=digest, user__is_active=True).first()
        if token is None:
            return None
        if not token.used_at or token.used_at < now() - timedelta(hours=1):
            cls.objects.filter(pk=token.pk).update(used_at=Now())
        return token.user, token.pk
