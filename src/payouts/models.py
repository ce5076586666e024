"""What a payout is, and the verbs that change it."""

import json
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from django.contrib.postgres.functions import RandomUUID
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Case, Q, Value, When
from django.db.models.functions import Length, Now
from django.db.models.lookups import Exact, LessThanOrEqual
from django.utils.translation import gettext_lazy as _
from uuid_utils.compat import uuid4, uuid7

from payouts.details import DETAILS_CONDITIONS, validate_recipient_details
from payouts.machine import PAID_OR_REFUSED, Status
from payouts.querysets import PayoutQuerySet

AMOUNT_MIN = Decimal("0.01")
AMOUNT_DIGITS = 12
AMOUNT_PLACES = 2
AMOUNT_MAX = 10 ** (AMOUNT_DIGITS - AMOUNT_PLACES) - AMOUNT_MIN
TEXT_MAX_LENGTH = 1000
REFERENCE_MAX_LENGTH = 255
FAILURE_CODE_MAX_LENGTH = 100
# How the failure reason begins if the payout was paid, and the money came back.
RETURNED_PREFIX = "Returned: "
IDEMPOTENCY_KEY_MAX_LENGTH = 255

RESULT = ("status", "failure_reason", "gateway_reference")
TIMES = ("created_at", "updated_at", "processed_at")
TEXTS = ("comment", "failure_reason", "note")
INDEXED = (Status.NEW, Status.FAILED, Status.CANCELLED)


class Currency(models.TextChoices):
    RUB = "RUB", _("Russian rouble")
    USD = "USD", _("US dollar")
    EUR = "EUR", _("Euro")


def agree(one: Q, other: Q) -> Exact:
    """Both hold, or neither does."""
    return Exact(one, other)


# Which payouts must have a `due_at`, and which must have none. A NEW one has it exactly when nothing holds it. A
# PROCESSING one that has none waits for a person, and its note says why.
DUE = Case(
    When(Q(deleted_at__isnull=False) | Q(status__in=[Status.FAILED, Status.CANCELLED]), then=Q(due_at=None)),
    When(status=Status.NEW, then=agree(Q(due_at=None), ~Q(hold=""))),
    When(status=Status.PROCESSING, then=Q(due_at__isnull=False) | ~Q(note="")),
    default=Value(value=True),
    output_field=models.BooleanField(),
)


def check(name: str, condition: Any) -> models.CheckConstraint:
    return models.CheckConstraint(name=f"payout_{name}", condition=condition)


class Payout(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    external_id = models.TextField(null=True, editable=False)  # reserved: the caller's own reference
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
    comment = models.TextField(_("comment"), blank=True, default="", db_default="", max_length=TEXT_MAX_LENGTH)
    status = models.CharField(
        _("status"), max_length=10, choices=Status, default=Status.NEW, db_default=Status.NEW.value
    )
    failure_reason = models.TextField(
        _("failure reason"), blank=True, default="", db_default="", max_length=TEXT_MAX_LENGTH
    )
    failure_code = models.TextField(
        _("failure code"), default="", db_default="", max_length=FAILURE_CODE_MAX_LENGTH, editable=False
    )
    gateway_reference = models.TextField(
        _("gateway reference"), blank=True, default="", db_default="", max_length=REFERENCE_MAX_LENGTH
    )
    # Why its outcome is unknown, or why a person changed its status.
    note = models.TextField(_("note"), default="", db_default="", max_length=TEXT_MAX_LENGTH, editable=False)

    # Both are reserved: not before this time, and why nobody may take it yet.
    pay_at = models.DateTimeField(null=True, editable=False)
    hold = models.TextField(default="", db_default="", editable=False)
    # When a worker is next to take it: a NEW one, one whose lease runs out then, or one that is to be asked about then.
    due_at = models.DateTimeField(null=True, editable=False)
    taken_at = models.DateTimeField(null=True, editable=False)  # set by claim, cleared by finish

    # Its route, its key there, when this submission was first asked, and since when the provider works on it.
    gateway = models.TextField(_("gateway"), default="", db_default="", editable=False)
    gateway_key = models.UUIDField(default=uuid4, db_default=RandomUUID(), editable=False)
    asked_at = models.DateTimeField(null=True, editable=False)
    pending_since = models.DateTimeField(null=True, editable=False)
    # How many times it was submitted under a new key, and how many times a worker took it.
    submission = models.IntegerField(default=1, db_default=1, editable=False)
    attempt = models.IntegerField(_("attempts"), default=0, db_default=0, editable=False)

    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)
    updated_at = models.DateTimeField(_("updated"), db_default=Now(), editable=False)
    processed_at = models.DateTimeField(_("processed"), null=True, editable=False)
    deleted_at = models.DateTimeField(_("deleted"), null=True, editable=False)
    changed_by = models.TextField(default="", db_default="", editable=False)
    caller = models.TextField(_("caller"), default="", db_default="", editable=False)
    idempotency_key = models.TextField(null=True, editable=False)
    fingerprint = models.TextField(null=True, editable=False)

    # Of one attempt, set by claim: when that was, by `clock`, and what the database's clock said then.
    claimed_at: float
    was_asked_before: bool
    asked_ago: timedelta
    pending_for: timedelta
    clock_was_set_back: bool
    # Set before the gateway is asked, by `clock`: until when it may answer, and until when this key may be sent.
    deadline: float
    send_before: float
    # An answer of this attempt was not believed, so what was sent may have been executed.
    was_doubted: bool = False
    # What its status does not say. Set by `with_stage`.
    stage: str
    objects = models.Manager.from_queryset(PayoutQuerySet)()

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
            # COMPLETED is left out. A list of them reads payout_by_creation, and an entry here would be one more write
            # for every payout.
            models.Index("status", "created_at", "id", name="payout_by_status", condition=Q(status__in=INDEXED)),
            # What workers look for. Ten million finished payouts cost them nothing.
            models.Index(
                "status",
                "due_at",
                name="payout_by_due",
                condition=Q(status__in=[Status.NEW, Status.PROCESSING], deleted_at=None),
            ),
            # What a notification names: payouts that a worker has in hand are not among them, as their leases stand.
            models.Index(
                "gateway_key",
                name="payout_by_gateway_key",
                condition=Q(status__in=[Status.PROCESSING, Status.COMPLETED], taken_at=None),
            ),
            # What somebody has hinted at.
            models.Index("due_at", name="payout_by_hint", condition=Q(status=Status.COMPLETED, due_at__isnull=False)),
            # The write that fills the list of new words moves all into the index: 4 MB, the default, take a second.
            GinIndex(SearchVector("comment", config="simple"), name="payout_by_words", gin_pending_list_limit=256),
        ]
        constraints = [
            check("amount", Q(amount__range=(AMOUNT_MIN, AMOUNT_MAX))),
            check("currency", Q(currency__in=Currency.values)),
            check("status", Q(status__in=Status.values)),
            *(check(text, LessThanOrEqual(Length(text), TEXT_MAX_LENGTH)) for text in TEXTS),
            check("gateway_reference", LessThanOrEqual(Length("gateway_reference"), REFERENCE_MAX_LENGTH)),
            check("failure_code", LessThanOrEqual(Length("failure_code"), FAILURE_CODE_MAX_LENGTH)),
            check("idempotency_key_length", LessThanOrEqual(Length("idempotency_key"), IDEMPOTENCY_KEY_MAX_LENGTH)),
            *(check(name, condition) for name, condition in DETAILS_CONDITIONS.items()),
            # These columns are set exactly when the status calls for them.
            check("due", DUE),
            check("taken", Q(taken_at=None) | Q(due_at__isnull=False)),
            check("processed", agree(Q(status__in=PAID_OR_REFUSED), Q(processed_at__isnull=False))),
            check("reason_of_failure", agree(Q(status=Status.FAILED), ~Q(failure_reason=""))),
            models.UniqueConstraint(
                name="payout_idempotency_key",
                fields=["caller", "idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)

    @property
    def last_request_id(self) -> str:
        """That of the request that changed it last. A claim keeps it in `changed_by`, as its last word."""
        return self.changed_by.rpartition(" ")[2]


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


class Installation(models.Model):
    """This database's own id, one row, written by a migration. Keys at the providers are derived from it."""

    id = models.UUIDField(primary_key=True, editable=False)

    def __str__(self) -> str:
        return str(self.pk)
