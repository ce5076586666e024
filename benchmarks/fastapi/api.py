import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from benchmarks.fastapi.table import Payout, url
from benchmarks.fastapi.tasks import process

app = FastAPI()
sessions = async_sessionmaker(create_async_engine(url("asyncpg")), expire_on_commit=False)


async def session() -> AsyncIterator[AsyncSession]:
    async with sessions() as opened:
        yield opened


Session = Annotated[AsyncSession, Depends(session)]


class PayoutIn(BaseModel):
    user_id: int | None = None
    amount: Annotated[Decimal, Field(ge=Decimal("0.01"), max_digits=12, decimal_places=2)]
    currency: Literal["RUB", "USD", "EUR"]
    recipient_details: Annotated[dict[str, Any], Field(min_length=1)]
    comment: Annotated[str, Field(max_length=1000)] = ""


class PayoutOut(PayoutIn):
    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    status: str
    failure_reason: str
    gateway_reference: str
    attempt: int
    created_at: datetime
    updated_at: datetime
    processed_at: datetime | None


@app.middleware("http")
async def request_id(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    request.state.id = request.headers.get("X-Request-ID") or uuid.uuid4().hex
    response = await call_next(request)
    response.headers["X-Request-ID"] = request.state.id
    return response


@app.post("/api/v1/payouts/", status_code=201, response_model=PayoutOut)
async def create(request: Request, payload: PayoutIn, session: Session) -> Payout:
    payout = Payout(**payload.model_dump(), changed_by=f"api {request.state.id}")
    session.add(payout)
    await session.commit()
    process.delay(str(payout.id))
    return payout


@app.get("/api/v1/payouts/", response_model=list[PayoutOut])
async def find(  # noqa: PLR0913, PLR0917
    session: Session,
    status: str | None = None,
    currency: str | None = None,
    user_id: int | None = None,
    search: str | None = None,
    offset: int = 0,
) -> Any:
    query = select(Payout).order_by(Payout.created_at.desc(), Payout.id.desc()).offset(offset).limit(50)
    wanted = {Payout.status: status, Payout.currency: currency, Payout.user_id: user_id}
    query = query.where(*[column == value for column, value in wanted.items() if value is not None])
    if search:
        query = query.where(Payout.comment.ilike(f"%{search}%"))
    return (await session.scalars(query)).all()


@app.get("/api/v1/payouts/{payout_id}/", response_model=PayoutOut)
async def retrieve(payout_id: uuid.UUID, session: Session) -> Payout:
    payout = await session.get(Payout, payout_id)
    if payout is None:
        raise HTTPException(404)
    return payout
