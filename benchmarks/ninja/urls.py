from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import path
from ninja import Field, FilterSchema, NinjaAPI, Query, Schema
from ninja.pagination import LimitOffsetPagination, paginate

from benchmarks.ninja.tasks import process
from benchmarks.tutorial.models import Payout

api = NinjaAPI()


class PayoutIn(Schema):
    user_id: int | None = None
    amount: Annotated[Decimal, Field(ge=Decimal("0.01"), max_digits=12, decimal_places=2)]
    currency: Literal["RUB", "USD", "EUR"]
    recipient_details: Annotated[dict[str, Any], Field(min_length=1)]
    comment: Annotated[str, Field(max_length=1000)] = ""


class PayoutOut(PayoutIn):
    id: UUID
    status: str
    failure_reason: str
    gateway_reference: str
    attempt: int
    created_at: datetime
    updated_at: datetime
    processed_at: datetime | None


class PayoutFilter(FilterSchema):
    status: str | None = None
    currency: str | None = None
    user_id: int | None = None
    search: Annotated[str | None, Field(q="comment__icontains")] = None


class Pages(LimitOffsetPagination):
    class Input(Schema):
        limit: int = 50
        offset: int = 0


@api.post("/payouts/", response={201: PayoutOut})
def create(request: HttpRequest, response: HttpResponse, payload: PayoutIn) -> tuple[int, Payout]:
    payout = Payout.objects.create(**payload.dict(), changed_by=f"api {request.id}")
    process.delay(str(payout.pk))
    return 201, payout


@api.get("/payouts/", response=list[PayoutOut])
@paginate(Pages)
def find(request: HttpRequest, filters: Query[PayoutFilter]) -> QuerySet[Payout]:
    return filters.filter(Payout.objects.all())


@api.get("/payouts/{payout_id}/", response=PayoutOut)
def retrieve(request: HttpRequest, payout_id: UUID) -> Payout:
    return get_object_or_404(Payout, pk=payout_id)


urlpatterns = [path("api/v1/", api.urls)]
