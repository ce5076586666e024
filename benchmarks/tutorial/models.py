import uuid

from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone


class Payout(models.Model):  # noqa: DJ008
    class Status(models.TextChoices):
        NEW = "NEW"
        PROCESSING = "PROCESSING"
        COMPLETED = "COMPLETED"
        FAILED = "FAILED"
        CANCELLED = "CANCELLED"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user_id = models.BigIntegerField(null=True, blank=True)
    amount = models.DecimalField(max_digits=12, decimal_places=2, validators=[MinValueValidator(0.01)])
    currency = models.CharField(max_length=3, choices=[("RUB", "RUB"), ("USD", "USD"), ("EUR", "EUR")])
    recipient_details = models.JSONField()
    comment = models.TextField(blank=True, default="", max_length=1000)
    status = models.CharField(max_length=10, choices=Status, default=Status.NEW)
    failure_reason = models.TextField(blank=True, default="")
    gateway_reference = models.TextField(blank=True, default="")
    attempt = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    processed_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True, default=timezone.now)
    changed_by = models.TextField(default="")

    class Meta:
        managed = False
        db_table = "payouts_payout"
        ordering = ("-created_at",)
