"""What is there beside the payouts: health, the request id, the documents, the admin."""

import pytest
from django.db import connection
from swagger_spec_validator.validator20 import validate_spec

from config.health import pending_migrations
from payouts.models import COMMENT_MAX_LENGTH, Currency, Payout, Status
from payouts.tests.make import REQUEST, URL, make_payout

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("path", ["/healthz/", "/readyz/"])
def test_is_well(client, path):
    answer = client.get(path)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_is_not_ready_before_the_migrations(client):
    pending_migrations.cache_clear()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'payouts'")
    assert client.get("/readyz/").status_code == 503
    pending_migrations.cache_clear()


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
        ("/payouts/", "get", {"400", "503"}),
        ("/payouts/", "post", {"400", "410", "413", "415", "422", "503"}),
        ("/payouts/{id}/", "get", {"404", "503"}),
        ("/payouts/{id}/", "patch", {"400", "404", "409", "413", "415", "503"}),
        ("/payouts/{id}/", "put", {"400", "404", "409", "413", "415", "503"}),
        ("/payouts/{id}/", "delete", {"404", "409", "503"}),
        ("/payouts/{id}/history/", "get", {"400", "404", "503"}),
    ],
)
def test_the_errors_are_documented(document, path, method, errors):
    assert {code for code in document["paths"][path][method]["responses"] if code >= "400"} == errors


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
    assert payout["properties"]["comment"]["maxLength"] == COMMENT_MAX_LENGTH
    assert payout["properties"]["currency"]["enum"] == list(Currency)
    assert payout["required"] == ["amount", "currency", "recipient_details"]
    assert "required" not in document["definitions"]["PayoutPatch"]


@pytest.mark.parametrize("path", ["/swagger/", "/redoc/", "/swagger/?format=openapi", "/swagger.json", "/swagger.yaml"])
def test_the_documents_are_served(client, path):
    assert client.get(path).status_code == 200


def test_the_admin_shows_payouts_and_changes_none(admin_client):
    payout = make_payout()
    page = admin_client.get("/admin/payouts/payout/")
    assert str(payout.pk) in page.content.decode()
    page = admin_client.get(f"/admin/payouts/payout/{payout.pk}/change/")
    assert REQUEST["recipient_details"]["number"] not in page.content.decode()
    assert admin_client.post(f"/admin/payouts/payout/{payout.pk}/change/", {"status": "COMPLETED"}).status_code == 403
