"""On its own, because it reads the whole table: here nobody waits for it."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("payouts", "0006_shorter_checks")]

    operations = [
        ValidateConstraint("payout", name) for name in ("payout_lease", "payout_processed", "payout_reason_of_failure")
    ]
