"""The ceiling: four threads, each with a connection of its own, that claim and finish."""

import os
import threading
from typing import Any

from kombu import Connection, Consumer, Queue

from benchmarks.bare.sql import pool

CLAIM = """UPDATE payouts_payout SET status = 'PROCESSING', attempt = attempt + 1,
                  due_at = now() + interval '1 minute', updated_at = now(), changed_by = 'worker'
            WHERE id = %s AND status = 'NEW' RETURNING *"""
FINISH = """UPDATE payouts_payout SET status = 'COMPLETED', processed_at = now(), due_at = NULL,
                   updated_at = now(), changed_by = 'worker'
             WHERE id = %s AND status = 'PROCESSING' AND attempt = %s"""
THREADS = 4
database = pool(THREADS)


def process(body: Any, message: Any) -> None:
    with database.connection() as connection:
        if payout := connection.execute(CLAIM, body[0]).fetchone():
            connection.execute(FINISH, (payout["id"], payout["attempt"]))
    message.ack()


def consume() -> None:
    with Connection(os.environ["CELERY_BROKER_URL"]) as broker:
        queue = Queue(os.environ["CELERY_TASK_DEFAULT_QUEUE"])
        with Consumer(broker, queue, callbacks=[process], prefetch_count=4):
            while True:
                broker.drain_events()


for _ in range(THREADS):
    threading.Thread(target=consume).start()
