"""What Celery itself costs: a task that does nothing."""

import os

from celery import Celery

app = Celery("nothing", broker=os.environ["CELERY_BROKER_URL"])
app.conf.task_default_queue = os.environ["CELERY_TASK_DEFAULT_QUEUE"]
app.conf.task_ignore_result = True
app.conf.task_acks_late = True


@app.task(name="nothing.process")
def process(payout_id: str) -> None:
    pass
