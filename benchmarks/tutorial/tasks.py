import os
from datetime import timedelta

import requests
from celery import shared_task
from django.utils import timezone

from benchmarks.tutorial.models import Payout


@shared_task(name="tutorial.process")
def process(payout_id):
    payout = Payout.objects.get(pk=payout_id)
    if payout.status != Payout.Status.NEW:
        return
    payout.status = Payout.Status.PROCESSING
    payout.attempt += 1
    payout.due_at = timezone.now() + timedelta(minutes=1)
    payout.save()
    if provider := os.environ.get("PROVIDER_URL"):
        request = {"key": str(payout.id), "amount": str(payout.amount), "currency": payout.currency}
        payout.gateway_reference = requests.post(provider, json=request, timeout=20).json()["reference"]
    payout.status = Payout.Status.COMPLETED
    payout.due_at = None
    payout.processed_at = timezone.now()
    payout.save()
