"""The metrics of the API."""

import pytest
from django.db.models import F

from payouts.machine import Status
from payouts.models import Payout
from tests.make import URL, make_payout, multiply, url_of

pytestmark = pytest.mark.django_db


def read_metrics(api):
    lines = api.get("/metrics", headers={"host": "10.0.0.7:8080"}).content.decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def make_old_payout(status, age, **fields):
    payout = make_payout(status, **fields)
    Payout.objects.filter(pk=payout.pk).update(created_at=F("created_at") - age, due_at=F("due_at") - age)
    return payout


def test_the_metrics_count_payouts_in_flight(api):
    for status in Status:
        make_payout(status)
    deleted = make_payout(Status.NEW)
    api.delete(url_of(deleted))
    metrics = read_metrics(api)
    assert (metrics['payouts_in_flight{status="NEW"}'], metrics['payouts_in_flight{status="PROCESSING"}']) == (1, 1)


def test_the_count_of_payouts_in_flight_stops_at_10000(api):
    multiply(make_payout(), 10_000)
    assert read_metrics(api)['payouts_in_flight{status="NEW"}'] == 10_000


@pytest.mark.parametrize("status", [Status.NEW, Status.PROCESSING])
def test_the_metrics_show_the_age_of_the_oldest_payout(api, status, hour):
    make_old_payout(status, hour)
    make_payout(status)
    assert 3600 < read_metrics(api)[f'payouts_oldest_seconds{{status="{status}"}}'] < 3700


@pytest.mark.parametrize(
    ("method", "path", "labels"),
    [
        ("POST", URL, 'method="POST",route="api/v1/payouts/",status="201"'),
        ("GET", f"{URL}01a1fcaf-a016-7176-b7af-bb375d1fea01/", 'route="api/v1/payouts/<uuid:pk>/",status="404"'),
        ("GET", "/no/such/path", 'method="GET",route="other",status="404"'),
        ("BREW", "/healthz/", 'method="other",route="healthz/",status="200"'),
    ],
)
def test_the_metrics_count_requests_by_route(api, method, path, labels):
    def count():
        metrics = read_metrics(api).items()
        return sum(
            n for name, n in metrics if name.startswith("http_request_duration_seconds_count") and labels in name
        )

    before = count()
    api.generic(method, path, b'{"amount": "1", "currency": "RUB", "recipient_details": {"a": 1}}', "application/json")
    assert count() == before + 1


@pytest.mark.parametrize(
    ("header", "code"), [("Bearer s3cret", 200), ("Bearer s3cre", 401), ("s3cret", 401), ("", 401)]
)
def test_a_setting_closes_the_metrics(api, settings, header, code):
    settings.METRICS_TOKEN = "s3cret"
    assert api.get("/metrics", headers={"authorization": header}).status_code == code
