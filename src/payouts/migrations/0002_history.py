"""Every change of a payout is recorded in the statement that makes it, whoever makes it."""

from django.db import migrations

CREATE = """
CREATE FUNCTION payouts_record() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    internal CONSTANT text[] := '{id, recipient_details, created_at, updated_at, changed_by, fingerprint}';
    old_row jsonb := '{}';
    new_row jsonb := '{}';
    changed jsonb;
    -- Whoever changes a payout without naming himself has not touched updated_at either.
    author text := 'sql ' || session_user;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        old_row := to_jsonb(OLD) - internal;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        new_row := to_jsonb(NEW) - internal;
        IF TG_OP = 'INSERT' OR NEW.updated_at IS DISTINCT FROM OLD.updated_at THEN
            author := NEW.changed_by;
        END IF;
    END IF;
    SELECT coalesce(jsonb_object_agg(key, value), '{}') INTO changed
      FROM jsonb_each(new_row) WHERE value IS DISTINCT FROM coalesce(old_row -> key, 'null');
    IF TG_OP = 'UPDATE' AND NEW.recipient_details IS DISTINCT FROM OLD.recipient_details THEN
        changed := changed || '{"recipient_details": "changed"}';
    END IF;
    INSERT INTO payouts_payoutchange (payout_id, at, operation, changed_by, changes)
    VALUES (coalesce(NEW.id, OLD.id), clock_timestamp(), TG_OP, author, changed);
    RETURN NULL;
END
$$;
CREATE TRIGGER payouts_record AFTER INSERT OR UPDATE OR DELETE ON payouts_payout
    FOR EACH ROW EXECUTE FUNCTION payouts_record();
"""
DROP = "DROP TRIGGER payouts_record ON payouts_payout; DROP FUNCTION payouts_record();"


class Migration(migrations.Migration):
    dependencies = [("payouts", "0001_initial")]

    operations = [migrations.RunSQL(CREATE, DROP)]
