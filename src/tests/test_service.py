"""What is there beside the payouts: health, the request id, the documents, the admin."""

import os
import re
import socket

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from swagger_spec_validator.validator20 import validate_spec

from payouts.machine import Status
from payouts.models import TEXT_MAX_LENGTH, Currency, Payout
from runtime.health import pending_migrations
from tests.local import ROOT
from tests.make import REQUEST, URL, make_payout

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("path", ["/healthz/", "/readyz/"])
def test_is_well(client, path):
    answer = client.get(path)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_is_ready_once_the_migrations_are_there(client):
    pending_migrations.cache_clear()
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT * FROM django_migrations")
        cursor.execute("DELETE FROM django_migrations WHERE app = 'payouts'")
        answer = client.get("/readyz/")
        assert (answer.status_code, answer.json()["status"]) == (503, "the database's schema is not current")
        cursor.execute("INSERT INTO django_migrations SELECT * FROM kept WHERE app = 'payouts'")
    assert client.get("/readyz/").status_code == 200


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux can")
def test_a_database_whose_machine_is_gone_is_given_up_in_seconds():
    connection.ensure_connection()
    with socket.socket(fileno=os.dup(connection.connection.fileno())) as wire:
        assert 0 < wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 10_000
        assert 0 < wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 10


def test_a_mistake_of_ours_is_told_as_json_too(client):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE payouts_payout RENAME TO elsewhere")
    client.raise_request_exception = False
    answer = client.get(URL)
    transaction.set_rollback(True)
    assert (answer.status_code, list(answer.json())) == (500, ["detail"])
    assert answer["X-Request-ID"]


def test_the_root_leads_to_the_documentation(client):
    assert client.get("/")["Location"] == "/swagger/"


@pytest.mark.parametrize("given", ["a", "6f1c-42:x/y=z@w+v.", "x" * 128])
def test_a_request_id_comes_back(client, given):
    assert client.get("/healthz/", headers={"X-Request-ID": given})["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", " ", "a b", "x" * 129, "é", "a\x00", '"', "{}"])
def test_an_unusable_request_id_is_replaced(client, given):
    answered = client.get("/healthz/", headers={"X-Request-ID": given})["X-Request-ID"]
    assert len(answered) == 32
    assert answered != given


@pytest.mark.parametrize("path", ["/nowhere/", "/api/v1/nowhere/", "/swagger/", URL, f"{URL}?status=x"])
def test_every_answer_has_a_request_id(client, path):
    assert client.get(path)["X-Request-ID"]


def test_the_created_row_names_the_request(api):
    answer = api.post(URL, REQUEST, headers={"X-Request-ID": "req-1"})
    assert Payout.objects.get(pk=answer.json()["id"]).changed_by == "api req-1"


@pytest.fixture
def document(client):
    return client.get("/swagger.json").json()


def test_the_document_is_swagger(document):
    validate_spec(document)


METHODS = ("get", "post", "put", "patch", "delete")


def test_the_document_has_every_operation(document):
    operations = {(path, method) for path, item in document["paths"].items() for method in METHODS if method in item}
    one = {("/payouts/{id}/", method) for method in ("get", "put", "patch", "delete")}
    assert operations == {("/payouts/", "get"), ("/payouts/", "post"), ("/payouts/{id}/history/", "get"), *one}


def test_every_operation_is_explained(document):
    for item in document["paths"].values():
        for operation in (item[method] for method in METHODS if method in item):
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
def test_the_errors_are_documented(document, path, method, errors):
    documented = {code for code in document["paths"][path][method]["responses"] if code >= "400"}
    assert documented == errors | {"400", "401", "403", "406", "411", "429", "503"}


def operations(document):
    return [item[method] for item in document["paths"].values() for method in METHODS if method in item]


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


def test_an_empty_parameter_is_none_and_documented_as_such(api, document):
    payout = make_payout()
    for path, url in (("/payouts/", URL), ("/payouts/{id}/history/", f"{URL}{payout.pk}/history/")):
        query = [p for p in document["paths"][path]["get"]["parameters"] if p["in"] == "query"]
        asked = [p for p in query if p["type"] != "array"]
        assert {p["name"] for p in asked} >= {"cursor", "page", "page_size"}
        for parameter in asked:
            assert parameter["allowEmptyValue"]
            assert api.get(url, {parameter["name"]: ""}).status_code == 200


def test_the_example_of_a_payout_is_taken(api, document):
    assert api.post(URL, document["definitions"]["Payout"]["example"]).status_code == 201


def test_the_headers_are_documented(document):
    post = document["paths"]["/payouts/"]["post"]
    assert {p["name"] for p in post["parameters"] if p["in"] == "header"} == {"Idempotency-Key", "X-Request-ID"}
    assert "Location" in post["responses"]["201"]["headers"]
    assert "Idempotent-Replayed" in post["responses"]["200"]["headers"]
    assert "Retry-After" in post["responses"]["503"]["headers"]


def test_the_committed_document_is_what_the_code_says(tmp_path, settings, monkeypatch):
    monkeypatch.setitem(settings.SWAGGER_SETTINGS, "SECURITY_REQUIREMENTS", None)
    fresh = tmp_path / "openapi.yaml"
    call_command("generate_swagger", fresh, format="yaml", url="http://localhost:8080")
    assert fresh.read_text() == (ROOT / "docs/openapi.yaml").read_text(), "run: make openapi"


@pytest.mark.parametrize(
    ("field", "takes", "refuses"),
    [
        ("amount", ("0.01", "1", "01.5", "00.10", "9999999999.99"), ("0", "0.00", "0.001", "10000000000", "1.", "-1")),
        ("amount_min", ("0", "-5", "9999999999.99", "0.1"), ("a", "1.001", "10000000000", "--1", "+1")),
    ],
)
def test_the_pattern_of_an_amount_is_what_is_taken(api, document, field, takes, refuses):
    query = {parameter["name"]: parameter for parameter in document["paths"]["/payouts/"]["get"]["parameters"]}
    described = {**query, **document["definitions"]["Payout"]["properties"]}[field]
    for value, good in [*((value, True) for value in takes), *((value, False) for value in refuses)]:
        answer = api.post(URL, {**REQUEST, "amount": value}) if field == "amount" else api.get(f"{URL}?{field}={value}")
        assert (answer.status_code < 400) == bool(re.search(described["pattern"], value)) == good, value


@pytest.mark.parametrize(("path", "item"), [("/payouts/", "Payout"), ("/payouts/{id}/history/", "Change")])
def test_a_list_is_documented_as_pages(document, path, item):
    operation = document["paths"][path]["get"]
    page = operation["responses"]["200"]["schema"]
    assert page["properties"]["results"]["items"] == {"$ref": f"#/definitions/{item}"}
    assert {"cursor", "page", "page_size"} <= {parameter["name"] for parameter in operation["parameters"]}


def test_the_filters_have_their_choices_and_formats(document):
    filters = {parameter["name"]: parameter for parameter in document["paths"]["/payouts/"]["get"]["parameters"]}
    assert filters["status"]["items"]["enum"] == list(Status)
    assert filters["currency"]["enum"] == list(Currency)
    assert filters["created_after"]["format"] == "date-time"
    assert filters["amount_min"]["format"] == "decimal"
    assert filters["user_id"]["type"] == "integer"
    assert {"cursor", "page", "page_size", "ordering", "search"} <= filters.keys()


def test_the_fields_have_their_limits(document):
    payout = document["definitions"]["Payout"]
    assert payout["properties"]["comment"]["maxLength"] == TEXT_MAX_LENGTH
    assert payout["properties"]["currency"]["enum"] == list(Currency)
    assert payout["required"] == ["amount", "currency", "recipient_details"]
    assert "required" not in document["definitions"]["PayoutPatch"]


def test_the_page_shows_the_document_to_no_stranger(client):
    assert '"validatorUrl": null' in client.get("/swagger/").content.decode()


@pytest.mark.parametrize("path", ["/swagger/", "/redoc/", "/swagger/?format=openapi", "/swagger.json", "/swagger.yaml"])
def test_the_documents_are_served(client, path):
    assert client.get(path).status_code == 200
