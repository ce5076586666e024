import re
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from rest_framework import exceptions
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import ModelViewSet

from payouts import machine
from payouts.api.filters import PayoutQuery
from payouts.api.pagination import PayoutPagination
from payouts.api.serializers import (
    ChangeSerializer,
    PayoutPatchSerializer,
    PayoutPostSerializer,
    PayoutPutSerializer,
    PayoutSerializer,
)
from payouts.bell import announce
from payouts.gateways import unpayable
from payouts.machine import PAID_OR_REFUSED, Status
from payouts.models import IDEMPOTENCY_KEY_MAX_LENGTH, Payout, PayoutChange
from payouts.querysets import fingerprint
from runtime.cards import mask_text
from runtime.requests import author
from runtime.rest import ApiError, Negotiation

# What staff need here. The API shows whole card numbers, and it settles. The admin asks for the same permissions.
TO_READ = ("payouts.view_payout", "payouts.view_card_numbers")
TO_CHANGE = (*TO_READ, "payouts.change_payout", "payouts.settle_payout")
PAGE = {"cursor", "page", "page_size"}
# A filter that is misspelt would be no filter.
QUERY_PARAMETERS = {"list": {*PayoutQuery().fields, *PAGE}, "history": PAGE}
IDEMPOTENCY_KEY = re.compile(f"[ -~]{{1,{IDEMPOTENCY_KEY_MAX_LENGTH}}}")


def is_settlement(fields: dict[str, Any]) -> bool:
    allowed = {"status", "note", "gateway_reference"}
    if fields.get("status") == Status.FAILED:
        allowed.add("failure_reason")
    return fields.get("status") in PAID_OR_REFUSED and fields.keys() <= allowed


class PayoutViewSet(ModelViewSet[Payout]):
    """
    list: Find payouts

    Newest first. Follow `next` and `previous` from page to page: that way no page costs more than the first.
    With `page` instead of `cursor` the pages are numbered and `count` is there, up to 10,000.

    create: Send a payout

    Answers at once; the payout is then paid in the background. `status` and timestamps in the body are ignored.

    Send an `Idempotency-Key` of your own to retry safely: however often the same key comes with the same payout,
    one is made, and every later answer is that payout as it is now. A key never expires.

    retrieve: Look at a payout

    Its `status` says what became of it, `failure_reason` why it failed, `attempt` how often a worker took it.

    update: Change a payout as a whole

    As PATCH, with all required fields: so it is possible only while the payout is `NEW`, or on its way back there.

    partial_update: Correct, cancel, settle or retry a payout

    * `comment`: at any time except while it is `PROCESSING`.
    * `amount`, `currency`, `recipient_details`, `user_id`: while it is `NEW`.
    STATUS_CHANGES

    `COMPLETED` or `FAILED` say that somebody settled it elsewhere, with a `gateway_reference` or `failure_reason` if
    there is one. `NEW` pays it again, with the other fields corrected in the same request. Look before you repeat that:
    the first request may have done it, and the payout be `FAILED` again by now.

    A `PROCESSING` one whose outcome is open, and which no worker has in hand, is settled as `COMPLETED` or `FAILED`
    with a `reason`: who at the provider said what became of it. What was paid and is called failed may be paid twice.
    So send the `attempt` of which the provider spoke, too: if a worker has asked again since, nothing is changed.

    Anything else is a 409 that says what is allowed now, and nothing is changed.

    destroy: Delete a payout

    Not while it is `PROCESSING`. From then on it is not found, in no list and never paid. Its history stays.

    history: See what happened to a payout

    Every change, oldest first: when, by whom and what; also of a deleted payout. Of `recipient_details` it says only
    that they changed.
    """

    queryset = Payout.objects.live()
    serializer_class = PayoutSerializer
    pagination_class = PayoutPagination
    content_negotiation_class = Negotiation
    lookup_value_converter = "uuid"
    permissions_to_read, permissions_to_change = TO_READ, TO_CHANGE
    advice_if_slow = _("This takes too long. Narrow it by user_id or created_after.")

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if "Transfer-Encoding" in request.headers:
            # Django would read a body without a length as an empty one.
            raise ApiError(411, _("Content-Length is required."))
        super().initial(request, *args, **kwargs)
        names = request.query_params.keys() - QUERY_PARAMETERS.get(self.action, set()) - {""}
        # A method that is not allowed has no action.
        if names and self.action:
            raise exceptions.ValidationError({name: [_("There is no such parameter.")] for name in sorted(names)})

    def get_serializer_class(self) -> type[BaseSerializer[Payout]]:
        by_action = {
            "create": PayoutPostSerializer,
            "update": PayoutPutSerializer,
            "partial_update": PayoutPatchSerializer,
        }
        return by_action.get(self.action) or super().get_serializer_class()

    def filter_queryset(self, queryset: Any) -> Any:
        if self.action != "list":
            return queryset
        return PayoutQuery(data=self.request.query_params, partial=True).find(queryset)

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        key = request.headers.get("Idempotency-Key")
        if key is not None and not IDEMPOTENCY_KEY.fullmatch(key):
            error = _("1 to {limit} printable ASCII characters.").format(limit=IDEMPOTENCY_KEY_MAX_LENGTH)
            raise exceptions.ValidationError({"Idempotency-Key": [error]})
        serializer = PayoutPostSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        fields = {"user_id": None, "comment": "", **serializer.validated_data}
        caller = request.user.get_username()
        payout, created = self.accept(fields, caller, key)
        if not created:
            return self.replay(payout, fields)
        announce(payout)
        data = serializer.to_representation(payout)
        location = request.build_absolute_uri(f"{request.path}{data['id']}/")
        return Response(data, 201, headers={"Location": location})

    def accept(self, fields: dict[str, Any], caller: str, key: str | None) -> tuple[Payout, bool]:
        errors = unpayable(fields["currency"], fields["recipient_details"])
        if not errors:
            return Payout.objects.accept(fields, by=author(self.request), caller=caller, key=key)
        # What was accepted before is repeated, though its provider may be another one by now.
        accepted = key and Payout.objects.filter(caller=caller, idempotency_key=key).first()
        if not accepted:
            raise exceptions.ValidationError(errors)
        return accepted, False

    def replay(self, payout: Payout, fields: dict[str, Any]) -> Response:
        if payout.fingerprint != fingerprint(fields):
            return Response({"detail": _("This Idempotency-Key was used for another payout before.")}, 422)
        if payout.deleted_at:
            return Response({"detail": _("The payout of this Idempotency-Key was deleted.")}, 410)
        if payout.status == Status.NEW:
            announce(payout)
        return Response(PayoutSerializer(payout).data, headers={"Idempotent-Replayed": "true"})

    def update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        # PATCH comes here, too: REST framework's `partial_update` calls it.
        change: Any = self.get_serializer(data=request.data)
        change.is_valid(raise_exception=True)
        self.refuse_changes(kwargs["pk"], {name for name in change.fields if change.fields[name].read_only})
        fields = dict(change.validated_data)
        if not fields.keys() - {"reason", "attempt"}:
            # These alone change nothing.
            fields = {}
        if "status" not in fields:
            fields.pop("reason", None)
        self.refuse_unpayable(kwargs["pk"], fields)
        # The guarded UPDATE comes first: what a read said before it could be wrong by then.
        if fields and not self.make(kwargs["pk"], fields, author(request)):
            return self.conflict()
        payout = self.get_object()
        if fields.get("status") == Status.NEW:
            announce(payout)
        return Response(PayoutSerializer(payout).data)

    def refuse_changes(self, pk: UUID, read_only: set[str]) -> None:
        """Of what cannot be changed, a caller may send back what it was shown."""
        data: Any = self.request.data
        sent = read_only & data.keys()
        payout = Payout.objects.live().filter(pk=pk).first() if sent else None
        if payout:
            shown = PayoutSerializer(payout).data
            error = _("It cannot be changed, and is not what you have sent.")
            if errors := {name: [error] for name in sorted(sent) if data[name] != shown[name]}:
                raise exceptions.ValidationError(errors)

    def refuse_unpayable(self, pk: UUID, fields: dict[str, Any]) -> None:
        """What is not changed of currency and recipient is read from the row."""
        changed = {name: fields[name] for name in ("currency", "recipient_details") if name in fields}
        if changed and settings.PAYOUT_PROVIDERS:
            row = Payout.objects.live().filter(pk=pk).values("currency", "recipient_details").first()
            if row and (errors := unpayable(**row | changed)):
                raise exceptions.ValidationError(errors)

    def make(self, pk: UUID, fields: dict[str, Any], by: str) -> bool:
        """Makes the change that the payout's status allows; or settles its open outcome, on the provider's word."""
        reason = fields.pop("reason", "")
        if reason:
            fields["note"] = mask_text(reason)
        seen = {"attempt": fields.pop("attempt")} if "attempt" in fields else {}
        if Payout.objects.change(pk, fields, by=by, **seen):
            return True
        if not is_settlement(fields) or not Payout.objects.to_settle().filter(pk=pk).exists():
            return False
        if not reason:
            error = _("The outcome is open: say who told you what became of it.")
            raise exceptions.ValidationError({"reason": [error]})
        return Payout.objects.settle_doubt(pk, fields, by=by, **seen)

    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        removed = Payout.objects.remove(kwargs["pk"], by=author(request))
        return Response(status=204) if removed else self.conflict()

    def conflict(self) -> Response:
        payout = self.get_object()
        detail = _("A payout that is %(status)s does not allow this.") % {"status": payout.status}
        rows = machine.transitions(source=payout.status, who=machine.PEOPLE)
        if Payout.objects.to_settle().filter(pk=payout.pk).exists():
            rows = machine.transitions("settle_doubt")
        return Response({"detail": detail, "status": payout.status, "allowed": machine.targets(rows)}, 409)

    @action(detail=True, suffix="List", serializer_class=ChangeSerializer)
    def history(self, request: Request, pk: UUID) -> Response:
        changes: Any = PayoutChange.objects.filter(payout_id=pk)
        page = self.paginate_queryset(changes)
        # Every payout has a first change, and keeps it when it is deleted.
        if not page:
            raise exceptions.NotFound
        return self.get_paginated_response(self.get_serializer(page, many=True).data)
