"""The OpenAPI document: what drf-yasg does not find out by itself."""

from datetime import UTC, datetime
from typing import Any

from drf_yasg import openapi
from drf_yasg.inspectors import FieldInspector, SwaggerAutoSchema
from drf_yasg.views import get_schema_view
from rest_framework.serializers import DecimalField, JSONField

from callers.permissions import MayReadDocs
from payouts import machine
from payouts.api.filters import PayoutQuery
from payouts.api.serializers import PayoutSerializer
from payouts.api.views import TO_READ
from payouts.gateways import TAKES
from payouts.gateways.sandbox import CARDS
from payouts.models import AMOUNT_DIGITS, AMOUNT_PLACES, IDEMPOTENCY_KEY_MAX_LENGTH, Payout
from payouts.recipients import HAS_ONE, TYPES
from runtime.rest import MAX_BODY_BYTES

SANDBOX = "\n".join(f"* `{number}` {becomes}" for number, becomes in CARDS.items())
DESCRIPTION = f"""
Takes payout requests, keeps them, pays each one exactly once in the background.

1. `POST /api/v1/payouts/` answers 201 with the payout, which is `NEW`.
   Send an `Idempotency-Key` with it, and you may repeat the request safely whatever became of its answer.
2. A worker makes it `PROCESSING`, then `COMPLETED` or `FAILED` (see `failure_reason`).
   While the gateway's answer is unknown it stays `PROCESSING` and is asked about again.
3. Follow it with `GET` at its `Location`, every second or so, while it is `NEW` or `PROCESSING`;
   all that happened to it is in its `history/`.
4. A `FAILED` one is paid again by a `PATCH` with `{{"status": "NEW"}}`, corrected in the same request if need be.

Where the service runs with its sandbox, nobody is paid, and the `number` of the `recipient_details` decides:

{SANDBOX}

Any other one is paid.

Say who you are by `Authorization: Token …`; whoever runs the service makes you a token and shows it once.

Every answer carries `X-Request-ID`: yours, or one that was made for you. Quote it when you ask for help.
A field or a parameter that there is not is a 400 that names it.
Another path is a 404, another method a 405 that names the right ones in `Allow`.
"""

info = openapi.Info(title="Payouts", default_version="v1", description=DESCRIPTION)
view = get_schema_view(info, public=True, permission_classes=[MayReadDocs])
# If DOCS_AUTH closes the document, staff need what they need to read payouts.
view.permissions_to_read = TO_READ


TEXT = openapi.Schema(type="string")
TEXTS = openapi.Schema(type="array", items=TEXT)
SCHEMAS = {
    "Error": openapi.Schema(
        type="object", required=["detail"], properties={"detail": TEXT}, example={"detail": "What is wrong, in words."}
    ),
    "FieldErrors": openapi.Schema(
        type="object",
        description="The messages by the name of the field that they are about, or `detail` alone.",
        properties={"detail": TEXT},
        additional_properties=TEXTS,
        example={"amount": ["Ensure this value is greater than or equal to 0.01."]},
    ),
    "Conflict": openapi.Schema(
        type="object",
        required=["detail", "status", "allowed"],
        properties={"detail": TEXT, "status": TEXT, "allowed": TEXTS},
        example={"detail": "A payout that is COMPLETED does not allow this.", "status": "COMPLETED", "allowed": []},
    ),
}
SENDING = {"create", "update", "partial_update"}
CHANGING = {"update", "partial_update", "destroy"}
ALL = SENDING | CHANGING | {"list", "retrieve", "history"}
ERRORS = {
    400: ("Something in the request cannot be used; the answer names it.", ALL),
    401: ("The token or password is missing or wrong.", ALL),
    403: ("This account is not staff or lacks a permission, or its session came without `X-CSRFToken`.", ALL),
    404: ("There is no such payout.", CHANGING | {"retrieve", "history"}),
    406: ("`Accept` does not allow `application/json`.", ALL),
    409: ("The payout's status does not allow this; nothing was changed.", CHANGING),
    410: ("The payout that this `Idempotency-Key` created was deleted.", {"create"}),
    411: ("There is a body, but no `Content-Length`.", ALL),
    413: (f"The body is longer than {MAX_BODY_BYTES // 1024} KiB.", SENDING),
    415: ("The body is not `application/json`.", SENDING),
    422: ("This `Idempotency-Key` was used for another payout before.", {"create"}),
    429: ("Too many wrong tokens or passwords; see `Retry-After`.", ALL),
    503: ("The database is not available. A change may have been made: look, or repeat a POST with its key.", ALL),
}
SCHEMA_OF = {400: "FieldErrors", 409: "Conflict"}
SUCCESSES = {
    "200": "The payout as it is now.",
    "201": "The payout is accepted. `Location` is where to follow it.",
    "204": "It is deleted, and never paid if it was not yet.",
}
LOCATION = {"Location": {"type": "string", "format": "uri", "description": "Where the payout is."}}
RETRY_AFTER = {"Retry-After": {"type": "string", "pattern": "^[0-9]+$", "description": "Seconds to wait."}}
HEADERS = {"201": LOCATION, "429": RETRY_AFTER, "503": RETRY_AFTER}
REPLAYED = {"Idempotent-Replayed": {"type": "string", "enum": ["true"], "description": "The key was there before."}}
ANSWER_ID = {"X-Request-ID": {"type": "string", "description": "What to quote when you ask for help."}}
EXAMPLES = {
    "user_id": 42,
    "amount": "100.50",
    "currency": "RUB",
    "recipient_details": {"type": "card", "number": "4111111111111111"},
    "comment": "Salary for November",
}
EXAMPLE_TIME = datetime(2026, 11, 21, 9, tzinfo=UTC)
FIRST = Payout(id="01a1fcaf-a016-7176-b7af-bb375d1fea01", created_at=EXAMPLE_TIME, updated_at=EXAMPLE_TIME, **EXAMPLES)
NEW = dict(PayoutSerializer(FIRST).data)
CHANGE = {"at": NEW["created_at"], "changed_by": "api 4f2a", "operation": "UPDATE", "changes": {"comment": "Bonus"}}
REQUEST_EXAMPLES = {"create": EXAMPLES, "update": EXAMPLES, "partial_update": {"status": "CANCELLED"}}
IDEMPOTENCY_KEY = openapi.Parameter(
    "Idempotency-Key",
    openapi.IN_HEADER,
    description=(
        "A name of your own for this request, to retry it safely."
        f" 1 to {IDEMPOTENCY_KEY_MAX_LENGTH} printable characters."
    ),
    type="string",
    pattern=f"^[!-~]([ -~]{{0,{IDEMPOTENCY_KEY_MAX_LENGTH - 2}}}[!-~])?$",
)
REQUEST_ID = openapi.Parameter(
    "X-Request-ID",
    openapi.IN_HEADER,
    description="A name of your own for this request in every log line. 1 to 128 of `A-Z a-z 0-9 _ . : / + = @ -`.",
    type="string",
)


def status_changes() -> str:
    """Which statuses a person may bring about, from the table of the machine."""
    lines = []
    for source in machine.sources(machine.transitions(who=machine.PEOPLE)):
        targets = machine.targets(machine.transitions(source=source, who=machine.PEOPLE))
        lines.append(f"* `status` of a `{source}` one: {', '.join(f'`{target}`' for target in targets)}.")
    return "\n".join(lines)


def recipients() -> str:
    """Whom the gateways pay that do not take any object."""
    lines = []
    for kind, (currencies, types) in TAKES.items():
        shapes = []
        for each in types:
            fields = (" or " if each in HAS_ONE else " and ").join(f"`{name}`" for name in TYPES[each])
            shapes.append(f"`{each}` with {fields}")
        lines.append(f"Where `{kind}` pays ({', '.join(currencies)}), its `type` is {', '.join(shapes)}.")
    return " ".join([*lines, "Other gateways take any."])


class LimitsInspector(FieldInspector):
    """Says the limits that a serializer's field does not tell, and takes back what is only true of input."""

    def process_result(self, result: Any, method_name: str, obj: Any, **kwargs: Any) -> Any:
        if obj.read_only:
            result.pop("minLength", None)
        if isinstance(result, openapi.Parameter):
            result.allow_empty_value = result.type != "array"
        if isinstance(obj, DecimalField):
            cents, digits = f"[0-9]{{1,{AMOUNT_PLACES}}}", f"[0-9]{{0,{AMOUNT_DIGITS - AMOUNT_PLACES - 1}}}"
            positive = rf"^0*([1-9]{digits}(\.{cents})?|0\.(0[1-9]|[1-9][0-9]?))$"
            result.format = openapi.FORMAT_DECIMAL
            result.pattern = positive if obj.min_value else rf"^-?0*[0-9]{digits}(\.{cents})?$"
            result.max_length = obj.MAX_STRING_LENGTH
            result.setdefault("description", f"A decimal number as text, with at most {AMOUNT_PLACES} places.")
        if isinstance(obj, JSONField):
            result.additional_properties = True
        if obj.field_name == "recipient_details":
            result.min_properties = 1
            result.description = f"{result.description} {recipients()}"
        return result


class AutoSchema(SwaggerAutoSchema):
    field_inspectors = [LimitsInspector, *SwaggerAutoSchema.field_inspectors]

    def get_query_serializer(self) -> PayoutQuery | None:
        return PayoutQuery() if self.view.action == "list" else None

    def get_summary_and_description(self) -> tuple[str, str]:
        summary, description = super().get_summary_and_description()
        return summary, description.replace("STATUS_CHANGES", status_changes())

    def get_default_response_serializer(self) -> Any:
        return self.view.serializer_class()

    def get_request_body_parameters(self, consumes: list[str]) -> list[openapi.Parameter]:
        parameters = super().get_request_body_parameters(consumes)
        for body in parameters:
            schema = body.schema.resolve(self.components)
            schema.example, schema.additional_properties = REQUEST_EXAMPLES[self.view.action], False
            # A PATCH without a body is allowed, and changes nothing.
            body.required = self.view.action != "partial_update"
        return [*parameters, *([IDEMPOTENCY_KEY] if self.view.action == "create" else []), REQUEST_ID]

    def get_response_serializers(self) -> dict[str, Any]:
        definitions = self.components.with_scope(openapi.SCHEMA_DEFINITIONS)
        for name, schema in SCHEMAS.items():
            definitions.setdefault(name, lambda schema=schema: schema)
        responses = self.successes()
        for code, (description, actions) in ERRORS.items():
            if self.view.action in actions:
                schema = openapi.SchemaRef(definitions, SCHEMA_OF.get(code, "Error"))
                responses[str(code)] = openapi.Response(description, schema)
        for name, response in responses.items():
            response.headers = ANSWER_ID | HEADERS.get(name, {})
        if self.view.action == "create":
            responses["200"].headers |= REPLAYED
        return responses

    def successes(self) -> dict[str, openapi.Response]:
        schemas, descriptions = super().get_response_serializers(), {**SUCCESSES}
        example: Any = CHANGE if self.view.action == "history" else NEW
        if self.view.action == "create":
            schemas = {"200": self.get_default_response_serializer(), **schemas}
            descriptions |= {"200": "What this `Idempotency-Key` has created before, as it is now."}
        if self.has_list_response():
            example = {"next": None, "previous": None, "results": [example]}
            descriptions |= {"200": "A page. `next` and `previous` are the URLs of those beside it."}
        return {
            code: openapi.Response(
                descriptions[code], schema or None, {"application/json": example} if schema else None
            )
            for code, schema in schemas.items()
        }
