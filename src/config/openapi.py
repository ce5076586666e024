"""The OpenAPI document: what drf-yasg does not find out by itself."""

from typing import Any

from drf_yasg import openapi
from drf_yasg.inspectors import FieldInspector, SwaggerAutoSchema
from drf_yasg.views import get_schema_view
from rest_framework import permissions
from rest_framework.serializers import DecimalField

from payouts.filters import PayoutQuery

DESCRIPTION = """
Takes payout requests, keeps them, pays each one exactly once in the background.

1. `POST /api/v1/payouts/` answers 201 with the payout, which is `NEW`.
   Send an `Idempotency-Key` with it, and you may repeat the request safely whatever became of its answer.
2. A worker makes it `PROCESSING`, then `COMPLETED` or `FAILED` (see `failure_reason`).
   While the gateway's answer is unknown it stays `PROCESSING` and is asked about again.
3. Follow it with `GET` at its `Location`; all that happened to it is in its `history/`.

Every answer carries `X-Request-ID`: yours, or one that was made for you. Quote it when you ask for help.
"""

info = openapi.Info(title="Payouts", default_version="v1", description=DESCRIPTION)
view = get_schema_view(info, public=True, permission_classes=[permissions.AllowAny])


TEXT = openapi.Schema(type=openapi.TYPE_STRING)
TEXTS = openapi.Schema(type=openapi.TYPE_ARRAY, items=TEXT)
SCHEMAS = {
    "Error": openapi.Schema(
        type=openapi.TYPE_OBJECT,
        required=["detail"],
        properties={"detail": TEXT},
        example={"detail": "What is wrong, in a sentence."},
    ),
    "FieldErrors": openapi.Schema(
        type=openapi.TYPE_OBJECT,
        description="The messages by the name of the field that they are about, or `detail` alone.",
        additional_properties=TEXTS,
        example={"amount": ["Ensure this value is greater than or equal to 0.01."]},
    ),
    "Conflict": openapi.Schema(
        type=openapi.TYPE_OBJECT,
        required=["detail", "status", "allowed"],
        properties={"detail": TEXT, "status": TEXT, "allowed": TEXTS},
        example={"detail": "A payout that is COMPLETED does not allow this.", "status": "COMPLETED", "allowed": []},
    ),
}
SENDING = {"create", "update", "partial_update"}
CHANGING = {"update", "partial_update", "destroy"}
READING = {"list", "retrieve", "history"}
ERRORS = {
    400: ("Something in the request cannot be used; the answer names it.", SENDING | {"list", "history"}),
    404: ("There is no such payout.", CHANGING | {"retrieve", "history"}),
    409: ("The payout's status does not allow this; nothing was changed.", CHANGING),
    410: ("The payout that this `Idempotency-Key` created was deleted.", {"create"}),
    413: ("The body is longer than 64 KiB.", SENDING),
    415: ("The body is not `application/json`.", SENDING),
    422: ("This `Idempotency-Key` came with another payout before.", {"create"}),
    503: ("The database is not available. Nothing was changed; see `Retry-After`.", READING | SENDING | CHANGING),
}
SCHEMA_OF = {400: "FieldErrors", 409: "Conflict"}
SUCCESSES = {
    "200": "It as it is now, or a page of them; after a POST: what the same key created before.",
    "201": "The payout is accepted. `Location` is where to follow it.",
    "204": "It is deleted, and never paid if it was not yet.",
}
EXAMPLES = {
    "user_id": 42,
    "amount": "100.50",
    "currency": "RUB",
    "recipient_details": {"type": "card", "number": "4111111111111111", "holder": "IVAN IVANOV"},
    "comment": "Salary for November",
}
IDEMPOTENCY_KEY = openapi.Parameter(
    "Idempotency-Key",
    openapi.IN_HEADER,
    description="A name of your own for this request, to retry it safely. 1 to 255 printable characters.",
    type=openapi.TYPE_STRING,
)


class ExampleInspector(FieldInspector):
    """Puts an example on each field that a caller sends, and takes back what is only true of input."""

    def process_result(self, result: Any, method_name: str, obj: Any, **kwargs: Any) -> Any:
        if isinstance(result, openapi.Schema) and obj.field_name in EXAMPLES and not obj.read_only:
            result.example = EXAMPLES[obj.field_name]
        if isinstance(result, openapi.Schema) and obj.read_only:
            result.pop("minLength", None)
        if isinstance(obj, DecimalField):
            result.format = openapi.FORMAT_DECIMAL
        return result


class AutoSchema(SwaggerAutoSchema):
    field_inspectors = [ExampleInspector, *SwaggerAutoSchema.field_inspectors]

    def get_query_serializer(self) -> PayoutQuery | None:
        return PayoutQuery() if self.view.action == "list" else None

    def has_list_response(self) -> bool:
        return self.view.action == "history" or super().has_list_response()

    def get_default_response_serializer(self) -> Any:
        return self.view.serializer_class()

    def get_request_body_parameters(self, consumes: list[str]) -> list[openapi.Parameter]:
        parameters = super().get_request_body_parameters(consumes)
        return [*parameters, IDEMPOTENCY_KEY] if self.view.action == "create" else parameters

    def get_response_serializers(self) -> dict[str, Any]:
        definitions = self.components.with_scope(openapi.SCHEMA_DEFINITIONS)
        for name, schema in SCHEMAS.items():
            definitions.setdefault(name, lambda schema=schema: schema)
        errors = {
            str(code): openapi.Response(description, openapi.SchemaRef(definitions, SCHEMA_OF.get(code, "Error")))
            for code, (description, actions) in ERRORS.items()
            if self.view.action in actions
        }
        replay = {"200": self.get_default_response_serializer()} if self.view.action == "create" else {}
        successes = {
            code: openapi.Response(SUCCESSES[code], schema or None)
            for code, schema in (replay | super().get_response_serializers()).items()
        }
        return successes | errors
