import os
import uuid
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import DateTime, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


def url(driver: str) -> str:
    user, password, host = os.environ["DB_USER"], os.environ["DB_PASSWORD"], os.environ["DB_HOST"]
    return f"postgresql+{driver}://{user}:{password}@{host}:{os.environ['DB_PORT']}/{os.environ['DB_NAME']}"


class Base(DeclarativeBase):
    # INSERT ... RETURNING brings what the database fills in.
    __mapper_args__ = {"eager_defaults": True}
    type_annotation_map = {datetime: DateTime(timezone=True), dict[str, Any]: JSONB}


class Payout(Base):
    __tablename__ = "payouts_payout"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    user_id: Mapped[int | None]
    amount: Mapped[Decimal]
    currency: Mapped[str]
    recipient_details: Mapped[dict[str, Any]]
    comment: Mapped[str] = mapped_column(default="")
    status: Mapped[str] = mapped_column(default="NEW")
    failure_reason: Mapped[str] = mapped_column(default="")
    gateway_reference: Mapped[str] = mapped_column(default="")
    attempt: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    processed_at: Mapped[datetime | None]
    due_at: Mapped[datetime | None] = mapped_column(server_default=func.now())
    changed_by: Mapped[str] = mapped_column(default="")
