"""The metrics of the API."""

from datetime import timedelta

import pytest
from django.db.models import F
from django.db.models.functions import Now
from django.urls import get_resolver

from payouts import gateways
from payouts.gateways import sandbox
from payouts.machine import Status
from payouts.models import Payout
from payouts.querysets import STAGES
from payouts.tasks import process
from tests.back_office import IN_DOUBT, PENDING, UNSENT, WAITING
from tests.banks import BANK, http_options
from tests.make import URL, make_payout, multiply, url_of

pytestmark = pytest.mark.django_db

OUTCOMES = {
    sandbox.REFUSED_NUMBER: "refused",
    sandbox.UNKNOWN_NUMBER: "unknown",
    sandbox.PENDING_PAID_NUMBER: "pending",
    sandbox.PENDING_REFUSED_NUMBER: "pending",
}


def read_metrics(api):
    # The deployed API imports its URLs before it answers anything. They bring the metrics of the table.
    get_resolver().url_patterns  # noqa: B018
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


STAGE_FIELDS = {"WAITS": WAITING, "PENDING": PENDING, "DOUBT": IN_DOUBT, "UNSENT": UNSENT}


def test_the_metrics_count_open_outcomes_by_stage(api, hour):
    make_payout(Status.PROCESSING)
    for number, fields in enumerate(STAGE_FIELDS.values(), start=1):
        for _ in range(number):
            make_payout(
                Status.PROCESSING, **{"asked_at": Now() - number * hour, **fields}, created_at=Now() - number * hour
            )
        make_payout(Status.PROCESSING, **fields)
    metrics = read_metrics(api)
    for number, stage in enumerate(STAGE_FIELDS, start=1):
        assert metrics[f'payouts_open{{stage="{stage}"}}'] == number + 1
        assert 0 <= metrics[f'payouts_open_seconds{{stage="{stage}"}}'] - number * 3600 < 100


def test_the_metrics_have_every_stage_from_the_beginning(api):
    metrics = read_metrics(api)
    assert {stage: metrics[f'payouts_open{{stage="{stage}"}}'] for stage in STAGES} == dict.fromkeys(STAGE_FIELDS, 0)


def test_the_metrics_show_the_age_of_the_oldest_key_that_may_be_sent_again(api, hour):
    make_payout(Status.PROCESSING, **IN_DOUBT, asked_at=Now() - hour)
    make_payout(Status.PROCESSING, **IN_DOUBT, asked_at=Now() - 2 * hour, gateway="http.north")
    # These are sent no more.
    make_payout(Status.PROCESSING, **WAITING, asked_at=Now() - 3 * hour)
    make_payout(Status.COMPLETED, asked_at=Now() - 3 * hour)
    metrics = read_metrics(api)
    for gateway, hours in (("sandbox", 1), ("http.north", 2)):
        assert 0 <= metrics[f'payouts_asked_seconds{{gateway="{gateway}"}}'] - hours * 3600 < 100


def test_the_metrics_show_how_long_each_gateway_remembers_a_key(api, settings, use_routes):
    settings.PAYOUT_HTTP_GATEWAYS = {"http.north": http_options("http://127.0.0.1:1/", remembers=timedelta(hours=2))}
    use_routes(RUB="http.north", others=BANK)
    metrics = read_metrics(api)
    assert metrics['payouts_gateway_remembers_seconds{gateway="http.north"}'] == 7200
    assert metrics[f'payouts_gateway_remembers_seconds{{gateway="{BANK}"}}'] == 86_400


def test_the_metrics_are_there_without_a_gateway(api, settings):
    settings.PAYOUT_ROUTES = {}
    gateways.routes.cache_clear()
    assert 'payouts_in_flight{status="NEW"}' in read_metrics(api)


@pytest.mark.parametrize("number", ["4111111111111111", *sandbox.CARDS])
def test_the_metrics_count_attempts_by_outcome_and_gateway(api, number):
    outcome = OUTCOMES.get(number, "paid")
    name = f'payouts_attempts_total{{gateway="sandbox",outcome="{outcome}"}}'
    before = read_metrics(api).get(name, 0)
    process(str(make_payout(recipient_details={"number": number}).pk))
    assert read_metrics(api)[name] == before + 1


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
