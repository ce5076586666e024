import os
from datetime import timedelta

import django
from celery import Celery
from django.conf import settings
from django.db.models import F
from django.db.models.functions import Now

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.ninja.settings"
if not settings.configured:
    django.setup()

from benchmarks.tutorial.models import Payout

app = Celery("ninja")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.task_ignore_result = True


@app.task(name="ninja.process")
def process(payout_id: str) -> None:
    claimed = Payout.objects.filter(pk=payout_id, status="NEW").update(
        status="PROCESSING", attempt=F("attempt") + 1, due_at=Now() + timedelta(minutes=1), updated_at=Now()
    )
    if claimed:
        Payout.objects.filter(pk=payout_id, status="PROCESSING").update(
            status="COMPLETED", due_at=None, processed_at=Now(), updated_at=Now()
        )
