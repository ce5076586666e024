"""The Celery application: what the API rings with, and a worker listens with."""

from celery import Celery

# No fixups: Celery's fixup for Django closes connections and caches twice for each task, a twentieth of a worker's
# time. Our worker looks after its connections itself.
app = Celery("payouts", fixups=[])
app.config_from_object("django.conf:settings", namespace="CELERY")
