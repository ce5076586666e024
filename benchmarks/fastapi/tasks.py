import os
from datetime import timedelta

from celery import Celery
from sqlalchemy import create_engine, func, update
from sqlalchemy.orm import Session

from benchmarks.fastapi.table import Payout, url

app = Celery("fastapi", broker=os.environ["CELERY_BROKER_URL"])
app.conf.task_default_queue = os.environ["CELERY_TASK_DEFAULT_QUEUE"]
app.conf.task_ignore_result = True
engine = create_engine(url("psycopg"))


@app.task(name="fastapi.process")
def process(payout_id: str) -> None:
    with Session(engine) as session:
        claim = update(Payout).where(Payout.id == payout_id, Payout.status == "NEW")
        lease = func.now() + timedelta(minutes=1)
        claim = claim.values(
            status="PROCESSING", attempt=Payout.attempt + 1, due_at=lease, updated_at=func.now()
        ).returning(Payout.id)
        claimed = session.execute(claim).first()
        session.commit()
        if claimed:
            finish = update(Payout).where(Payout.id == payout_id, Payout.status == "PROCESSING")
            now = func.now()
            session.execute(finish.values(status="COMPLETED", due_at=None, processed_at=now, updated_at=now))
            session.commit()
