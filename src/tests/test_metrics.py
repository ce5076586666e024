import pytest
from django.db.models import F

from payouts.machine import Status
from payouts.models import Payout
from tests.make import URL, make_payout, multiply, url_of

pytestmark = pytest.mark.django_db


def read(api):
    lines = api.get("/metrics", headers={"host": "10.0.0.7:8080"}).content.decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def backdated(status, age, **fields):
    payout = make_payout(status, **fields)
    Payout.objects.filter(pk=payout.pk).update(created_at=F("created_at") - age, due_at=F("due_at") - age)
    return payout


def test_what_is_in_flight_is_counted(api):
    for status in Status:
        make_payout(status)
    deleted = make_payout(Status.NEW)
    api.delete(url_of(deleted))
    seen = read(api)
    assert (seen['payouts_in_flight{status="NEW"}'], seen['payouts_in_flight{status="PROCESSING"}']) == (1, 1)


def test_no_more_are_counted_than_at_a_glance(api):
    multiply(make_payout(), 10_000)
    assert read(api)['payouts_in_flight{status="NEW"}'] == 10_000


@pytest.mark.parametrize("status", [Status.NEW, Status.PROCESSING])
def test_the_oldest_is_told(api, status, hour):
    backdated(status, hour)
    make_payout(status)
    assert 3600 < read(api)[f'payouts_oldest_seconds{{status="{status}"}}'] < 3700


def test_the_access_log_tells_the_caller_and_no_card_number(api, settings, caplog):
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": 1}
    known = "01a1fcaf-a016-7176-b7af-123456789012"
    with caplog.at_level("INFO", "access"):
        for name in ("4111111111111111", known):
            api.get(f"{URL}{name}/", headers={"X-Forwarded-For": "203.0.113.9"})
    fields = [record.fields for record in caplog.records if record.name == "access"]
    assert [(each["path"], each["client"]) for each in fields] == [
        (f"{URL}**** 1111/", "203.0.113.9"),
        (f"{URL}{known}/", "203.0.113.9"),
    ]


@pytest.mark.parametrize(
    ("method", "path", "labels"),
    [
        ("POST", URL, 'method="POST",route="api/v1/payouts/",status="201"'),
        ("GET", f"{URL}01a1fcaf-a016-7176-b7af-bb375d1fea01/", 'route="api/v1/payouts/<uuid:pk>/",status="404"'),
        ("GET", "/no/such/path", 'method="GET",route="other",status="404"'),
        ("BREW", "/healthz/", 'method="other",route="healthz/",status="200"'),
    ],
)
def test_requests_are_counted_by_route(api, method, path, labels):
    def count():
        seen = read(api).items()
        return sum(n for name, n in seen if name.startswith("http_request_duration_seconds_count") and labels in name)

    before = count()
    api.generic(method, path, b'{"amount": "1", "currency": "RUB", "recipient_details": {"a": 1}}', "application/json")
    assert count() == before + 1


@pytest.mark.parametrize(
    ("given", "status"), [("Bearer s3cret", 200), ("Bearer s3cre", 401), ("s3cret", 401), ("", 401)]
)
def test_a_setting_closes_them(api, settings, given, status):
    settings.METRICS_TOKEN = "s3cret"
    assert api.get("/metrics", headers={"authorization": given}).status_code == status
