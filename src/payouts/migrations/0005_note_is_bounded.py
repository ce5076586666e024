"""On its own, because it reads the whole table: here nobody waits for it."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("payouts", "0004_note")]

    operations = [ValidateConstraint("payout", "payout_note")]
