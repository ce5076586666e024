"""
The history: every change of a payout is recorded in the statement that makes it, whoever makes it.

And the installation's id, which a database gets once.
"""

from django.db import migrations

# Not among them: `recipient_details`, of which it says only that they changed. `id` and `created_at` never change.
# `updated_at` and `changed_by` are the record's own `at` and `changed_by`. `taken_at` and `asked_at` say what `at` says,
# and `fingerprint` follows from the rest.
RECORDED = """
    external_id user_id amount currency comment status failure_reason failure_code gateway_reference note pay_at hold
    due_at gateway gateway_key pending_since submission attempt processed_at deleted_at caller idempotency_key
""".split()
TEXTS = {
    *("comment", "failure_reason", "failure_code", "gateway_reference", "note", "hold", "gateway"),
    "caller",
}


def old(name: str) -> str:
    # OLD is all NULL for an INSERT. A text that is empty from the beginning has not changed.
    return f"coalesce(OLD.{name}, '')" if name in TEXTS else f"OLD.{name}"


COMPARISONS = "".join(
    f"""
        IF NEW.{name} IS DISTINCT FROM {old(name)} THEN
            changed := changed || jsonb_build_object('{name}', NEW.{name});
        END IF;"""
    for name in RECORDED
)
CREATE = f"""
CREATE FUNCTION payouts_record() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed jsonb := '{{}}';
    -- Whoever changes a payout without naming himself has not touched updated_at either.
    author text := 'sql ' || session_user;
BEGIN
    IF TG_OP <> 'DELETE' THEN{COMPARISONS}
        IF TG_OP = 'UPDATE' AND NEW.recipient_details IS DISTINCT FROM OLD.recipient_details THEN
            changed := changed || '{{"recipient_details": "changed"}}';
        END IF;
        IF NEW.updated_at IS DISTINCT FROM OLD.updated_at AND NEW.changed_by <> '' THEN
            author := NEW.changed_by;
        END IF;
    END IF;
    INSERT INTO payouts_payoutchange (payout_id, at, operation, changed_by, changes)
    VALUES (coalesce(NEW.id, OLD.id), clock_timestamp(), TG_OP, author, changed);
    RETURN NULL;
END
$$;
CREATE TRIGGER payouts_record AFTER INSERT OR UPDATE OR DELETE ON payouts_payout
    FOR EACH ROW EXECUTE FUNCTION payouts_record();
INSERT INTO payouts_installation (id) VALUES (gen_random_uuid());
"""
DROP = "DROP TRIGGER payouts_record ON payouts_payout; DROP FUNCTION payouts_record(); DELETE FROM payouts_installation;"


class Migration(migrations.Migration):
    dependencies = [("payouts", "0001_initial")]

    operations = [migrations.RunSQL(CREATE, DROP)]
