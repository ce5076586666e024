"""
The same history, computed in a fifth of the time: it was a fourth of PostgreSQL's work for a payout.

Two checks less, too: no rule about payouts needs them, and all are read anew for every statement.
"""

from django.db import migrations, models

RECORDED = """
    user_id amount currency comment status failure_reason gateway_reference processed_at submission attempt lease_until
    deleted_at note caller idempotency_key
""".split()
RECORD = "\n".join(
    f"""
        IF NEW.{name} IS DISTINCT FROM OLD.{name} THEN
            changed := changed || jsonb_build_object('{name}', NEW.{name});
        END IF;"""
    for name in RECORDED
)
REPLACE = f"""
CREATE OR REPLACE FUNCTION payouts_record() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed jsonb := '{{}}';
    -- Whoever changes a payout without naming himself has not touched updated_at either.
    author text := 'sql ' || session_user;
BEGIN
    -- OLD is all NULL for an INSERT.
    IF TG_OP <> 'DELETE' THEN
{RECORD}
        IF TG_OP = 'UPDATE' AND NEW.recipient_details IS DISTINCT FROM OLD.recipient_details THEN
            changed := changed || '{{"recipient_details": "changed"}}';
        END IF;
        IF NEW.updated_at IS DISTINCT FROM OLD.updated_at THEN
            author := NEW.changed_by;
        END IF;
    END IF;
    INSERT INTO payouts_payoutchange (payout_id, at, operation, changed_by, changes)
    VALUES (coalesce(NEW.id, OLD.id), clock_timestamp(), TG_OP, author, changed);
    RETURN NULL;
END
$$;
"""


class Migration(migrations.Migration):
    dependencies = [("payouts", "0009_short_waits_for_words")]

    operations = [
        # Not to be reversed: it names columns that earlier schemas do not have.
        migrations.RunSQL(REPLACE),
        migrations.AlterField("payout", "attempt", models.IntegerField("attempts", default=0, editable=False)),
        migrations.AlterField("payout", "submission", models.IntegerField(default=1, editable=False)),
    ]
