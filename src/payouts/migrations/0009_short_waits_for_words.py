import django.contrib.postgres.indexes
import django.contrib.postgres.search
from django.db import migrations

INDEX = django.contrib.postgres.indexes.GinIndex(
    django.contrib.postgres.search.SearchVector("comment", config="simple"),
    gin_pending_list_limit=256,
    name="payout_by_words",
)


class Migration(migrations.Migration):
    dependencies = [("payouts", "0008_exact_changes")]

    operations = [
        # Django would build the index anew.
        migrations.SeparateDatabaseAndState(
            [
                migrations.RunSQL(
                    "ALTER INDEX payout_by_words SET (gin_pending_list_limit = 256)",
                    "ALTER INDEX payout_by_words RESET (gin_pending_list_limit)",
                )
            ],
            [migrations.RemoveIndex("payout", "payout_by_words"), migrations.AddIndex("payout", INDEX)],
        )
    ]
