"""What every request gets, whatever its view: an id, a line of the log, an answer in JSON."""

import pytest
from django.db import connection, transaction

from payouts.models import Payout
from tests.make import REQUEST, URL

pytestmark = pytest.mark.django_db


def test_an_error_of_the_service_is_in_json(client):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE payouts_payout RENAME TO elsewhere")
    client.raise_request_exception = False
    answer = client.get(URL)
    transaction.set_rollback(True)
    assert (answer.status_code, list(answer.json())) == (500, ["detail"])
    assert answer["X-Request-ID"]


def test_the_root_leads_to_the_documentation(client):
    assert client.get("/")["Location"] == "/swagger/"


@pytest.mark.parametrize("value", ["a", "6f1c-42:x/y=z@w+v.", "x" * 128])
def test_a_request_id_comes_back(client, value):
    assert client.get("/healthz/", headers={"X-Request-ID": value})["X-Request-ID"] == value


@pytest.mark.parametrize("value", ["", " ", "a b", "x" * 129, "é", "a\x00", '"', "{}"])
def test_an_unusable_request_id_is_replaced(client, value):
    request_id = client.get("/healthz/", headers={"X-Request-ID": value})["X-Request-ID"]
    assert len(request_id) == 32
    assert request_id != value


@pytest.mark.parametrize("path", ["/nowhere/", "/api/v1/nowhere/", "/swagger/", URL, f"{URL}?status=x"])
def test_every_answer_has_a_request_id(client, path):
    assert client.get(path)["X-Request-ID"]


def test_a_new_payout_names_its_request(api):
    answer = api.post(URL, REQUEST, headers={"X-Request-ID": "req-1"})
    assert Payout.objects.get(pk=answer.json()["id"]).changed_by == "api req-1"


def test_the_access_log_shows_the_client_and_no_card_number(api, settings, caplog):
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": 1}
    pk = "01a1fcaf-a016-7176-b7af-123456789012"
    with caplog.at_level("INFO", "access"):
        for name in ("4111111111111111", pk):
            api.get(f"{URL}{name}/", headers={"X-Forwarded-For": "203.0.113.9"})
    fields = [record.fields for record in caplog.records if record.name == "access"]
    assert [(each["path"], each["client"]) for each in fields] == [
        (f"{URL}**** 1111/", "203.0.113.9"),
        (f"{URL}{pk}/", "203.0.113.9"),
    ]
