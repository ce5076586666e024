"""The OpenAPI document, its pages, and that the API does what the document says."""

import logging
import re

import pytest
from django.core.management import call_command
from swagger_spec_validator.validator20 import validate_spec

from payouts.gateways.sandbox import CARDS
from payouts.machine import Status
from payouts.models import TEXT_MAX_LENGTH, Currency
from tests.local import ROOT
from tests.make import REQUEST, URL, make_payout

pytestmark = pytest.mark.django_db


@pytest.fixture
def document(client):
    return client.get("/swagger.json").json()


def test_the_document_is_valid_swagger(document):
    validate_spec(document)


def test_the_document_lists_the_cards_of_the_sandbox(document):
    for number, becomes in CARDS.items():
        assert f"* `{number}` {becomes}" in document["info"]["description"]


METHODS = ("get", "post", "put", "patch", "delete")


def operations(document):
    return [item[method] for item in document["paths"].values() for method in METHODS if method in item]


def test_the_document_has_every_operation(document):
    names = {(path, method) for path, item in document["paths"].items() for method in METHODS if method in item}
    of_one_payout = {("/payouts/{id}/", method) for method in ("get", "put", "patch", "delete")}
    assert names == {("/payouts/", "get"), ("/payouts/", "post"), ("/payouts/{id}/history/", "get"), *of_one_payout}


def test_every_operation_has_a_description(document):
    for operation in operations(document):
        assert operation["summary"]
        assert operation["description"]
        assert all(response["description"] for response in operation["responses"].values())


@pytest.mark.parametrize(
    ("path", "method", "errors"),
    [
        ("/payouts/", "get", set()),
        ("/payouts/", "post", {"410", "413", "415", "422"}),
        ("/payouts/{id}/", "get", {"404"}),
        ("/payouts/{id}/", "patch", {"404", "409", "413", "415"}),
        ("/payouts/{id}/", "put", {"404", "409", "413", "415"}),
        ("/payouts/{id}/", "delete", {"404", "409"}),
        ("/payouts/{id}/history/", "get", {"404"}),
    ],
)
def test_the_document_lists_the_errors(document, path, method, errors):
    codes = {code for code in document["paths"][path][method]["responses"] if code >= "400"}
    assert codes == errors | {"400", "401", "403", "406", "411", "429", "503"}


def test_every_answer_has_an_example_and_a_request_id(document):
    for operation in operations(document):
        for code, response in operation["responses"].items():
            assert "X-Request-ID" in response["headers"]
            error = response.get("schema", {}).get("$ref", "").removeprefix("#/definitions/")
            assert code == "204" or "examples" in response or "example" in document["definitions"][error]


def test_every_body_has_an_example(document):
    bodies = [p for operation in operations(document) for p in operation["parameters"] if p["in"] == "body"]
    examples = [document["definitions"][body["schema"]["$ref"].split("/")[-1]]["example"] for body in bodies]
    assert len(examples) == 3


def test_an_empty_parameter_counts_as_missing_and_the_document_says_so(api, document):
    payout = make_payout()
    for path, url in (("/payouts/", URL), ("/payouts/{id}/history/", f"{URL}{payout.pk}/history/")):
        query = [p for p in document["paths"][path]["get"]["parameters"] if p["in"] == "query"]
        parameters = [p for p in query if p["type"] != "array"]
        assert {p["name"] for p in parameters} >= {"cursor", "page", "page_size"}
        for parameter in parameters:
            assert parameter["allowEmptyValue"]
            assert api.get(url, {parameter["name"]: ""}).status_code == 200


def test_the_api_accepts_the_example_of_a_payout(api, document):
    assert api.post(URL, document["definitions"]["PayoutPost"]["example"]).status_code == 201


def test_the_document_lists_the_headers(document):
    post = document["paths"]["/payouts/"]["post"]
    assert {p["name"] for p in post["parameters"] if p["in"] == "header"} == {"Idempotency-Key", "X-Request-ID"}
    assert "Location" in post["responses"]["201"]["headers"]
    assert "Idempotent-Replayed" in post["responses"]["200"]["headers"]
    assert "Retry-After" in post["responses"]["503"]["headers"]


def test_the_committed_document_is_up_to_date(tmp_path, settings, monkeypatch):
    monkeypatch.setitem(settings.SWAGGER_SETTINGS, "SECURITY_REQUIREMENTS", None)
    # The command switches off the log for good. This switches it on again.
    monkeypatch.setattr(logging.root.manager, "disable", logging.NOTSET)
    fresh = tmp_path / "openapi.yaml"
    call_command("generate_swagger", fresh, format="yaml", url="http://localhost:8080")
    assert fresh.read_text() == (ROOT / "docs/openapi.yaml").read_text(), "run: make openapi"


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("amount", ("0.01", "1", "01.5", "00.10", "9999999999.99"), ("0", "0.00", "0.001", "10000000000", "1.", "-1")),
        ("amount_min", ("0", "-5", "9999999999.99", "0.1"), ("a", "1.001", "10000000000", "--1", "+1")),
    ],
)
def test_the_api_accepts_the_amounts_that_match_the_pattern(api, document, field, good, bad):
    query = {parameter["name"]: parameter for parameter in document["paths"]["/payouts/"]["get"]["parameters"]}
    pattern = {**query, **document["definitions"]["Payout"]["properties"]}[field]["pattern"]
    for value, is_good in [*((value, True) for value in good), *((value, False) for value in bad)]:
        answer = api.post(URL, {**REQUEST, "amount": value}) if field == "amount" else api.get(f"{URL}?{field}={value}")
        assert (answer.status_code < 400) == bool(re.search(pattern, value)) == is_good, value


@pytest.mark.parametrize(("path", "item"), [("/payouts/", "Payout"), ("/payouts/{id}/history/", "Change")])
def test_the_document_describes_a_list_as_pages(document, path, item):
    operation = document["paths"][path]["get"]
    page = operation["responses"]["200"]["schema"]
    assert page["properties"]["results"]["items"] == {"$ref": f"#/definitions/{item}"}
    assert {"cursor", "page", "page_size"} <= {parameter["name"] for parameter in operation["parameters"]}


def test_the_document_lists_choices_and_formats_of_the_filters(document):
    filters = {parameter["name"]: parameter for parameter in document["paths"]["/payouts/"]["get"]["parameters"]}
    assert filters["status"]["items"]["enum"] == list(Status)
    assert filters["currency"]["enum"] == list(Currency)
    assert filters["created_after"]["format"] == "date-time"
    assert filters["amount_min"]["format"] == "decimal"
    assert filters["user_id"]["type"] == "integer"
    assert {"cursor", "page", "page_size", "ordering", "search"} <= filters.keys()


def test_the_document_lists_the_limits_of_the_fields(document):
    payout = document["definitions"]["Payout"]
    assert payout["properties"]["comment"]["maxLength"] == TEXT_MAX_LENGTH
    assert payout["properties"]["currency"]["enum"] == list(Currency)
    assert payout["required"] == ["amount", "currency", "recipient_details"]
    assert "required" not in document["definitions"]["PayoutPatch"]


def test_the_page_sends_the_document_to_no_validator(client):
    assert '"validatorUrl": null' in client.get("/swagger/").content.decode()


@pytest.mark.parametrize("path", ["/swagger/", "/redoc/", "/swagger/?format=openapi", "/swagger.json", "/swagger.yaml"])
def test_the_documentation_is_there(client, path):
    assert client.get(path).status_code == 200
