"""Notifications of a provider: they make payouts due, and settle nothing."""

import io
import json
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.db.models.functions import Now

from payouts.gateways.notifications import BODY_MAX_BYTES, MOST_A_SECOND
from payouts.machine import Status
from payouts.models import Payout, PayoutChange
from tests.back_office import IN_DOUBT, PENDING, WAITING
from tests.banks import http_options
from tests.make import make_payout, row
from tests.test_metrics import read_metrics

pytestmark = pytest.mark.django_db

TRUSTED = "Bearer the bank's secret"
OPEN = [IN_DOUBT, PENDING, WAITING]
DUE_COLUMNS = {"due_at", "updated_at", "changed_by"}


@pytest.fixture(autouse=True)
def routes(settings, use_routes):
    """Two accounts at providers that notify with a secret, and one that never does."""
    cache.clear()
    options = {"lookup_url": "http://127.0.0.1:1/{key}", "notification_token": TRUSTED.removeprefix("Bearer ")}
    settings.PAYOUT_HTTP_GATEWAYS = {
        "http": http_options("http://127.0.0.1:1/", **options),
        "http.south": http_options("http://127.0.0.1:1/", **{**options, "notification_token": "another secret"}),
        "http.silent": http_options("http://127.0.0.1:1/"),
    }
    use_routes(RUB="http", USD="http.south", EUR="http.silent", others="sandbox")


def notify(client, body, *, name="http", authorization=TRUSTED):
    headers = {"Authorization": authorization} if authorization else {}
    text = body if isinstance(body, bytes) else json.dumps(body)
    return client.post(f"/gateways/{name}/", text, content_type="application/json", headers=headers)


def notify_of(client, *payouts):
    return notify(client, {"keys": [str(payout.gateway_key) for payout in payouts]})


def make_open(**fields):
    """A payout that its worker has left open, and that is due later."""
    hour = timedelta(hours=1)
    return make_payout(Status.PROCESSING, **{"gateway": "http", "due_at": Now() + hour, **fields})


def is_due(payout):
    return Payout.objects.filter(pk=payout.pk, due_at__lte=Now()).exists()


# --- What it makes due


@pytest.mark.parametrize("fields", OPEN, ids=["in doubt", "pending", "waits"])
def test_a_notification_makes_an_open_payout_due(client, fields):
    payout = make_open(**fields)
    assert notify_of(client, payout).status_code == 200
    assert is_due(payout)
    assert row(payout)["changed_by"].startswith("notification http ")


def test_a_notification_makes_a_completed_payout_due(client):
    payout = make_payout(Status.COMPLETED, gateway="http")
    notify_of(client, payout)
    assert (is_due(payout), row(payout)["status"]) == (True, Status.COMPLETED)


def test_a_notification_may_name_one_key(client):
    payout = make_open(**PENDING)
    notify(client, {"key": str(payout.gateway_key)})
    assert is_due(payout)


def test_a_notification_rings_for_what_it_makes_due(client, queue_length, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        notify_of(client, make_open(**PENDING), make_open(**PENDING), make_open())
    assert queue_length() == 2


@pytest.mark.parametrize("status", [Status.PROCESSING, Status.COMPLETED])
def test_a_notification_shortens_no_lease(client, status):
    payout = make_payout(status, gateway="http", taken_at=Now(), due_at=Now() + timedelta(minutes=1))
    before = row(payout)
    assert notify_of(client, payout).status_code == 200
    assert row(payout) == before


@pytest.mark.parametrize("status", [Status.NEW, Status.FAILED, Status.CANCELLED])
def test_a_notification_leaves_what_a_provider_cannot_be_asked_about(client, status):
    payout = make_payout(status, gateway="http")
    before = row(payout)
    notify_of(client, payout)
    assert row(payout) == before


def test_a_notification_leaves_a_deleted_payout(client):
    payout = make_payout(Status.COMPLETED, gateway="http", deleted_at=Now())
    before = row(payout)
    notify_of(client, payout)
    assert row(payout) == before


def test_a_notification_leaves_the_payouts_of_another_route(client):
    payout = make_open(**PENDING, gateway="http.south")
    before = row(payout)
    assert notify_of(client, payout).status_code == 200
    assert row(payout) == before


@pytest.mark.parametrize("status", ["paid", "refused", "returned", "absent"])
@pytest.mark.parametrize("was", [Status.PROCESSING, Status.COMPLETED])
def test_a_notification_settles_nothing(client, was, status):
    payout = make_open(**PENDING) if was == Status.PROCESSING else make_payout(was, gateway="http")
    before = row(payout)
    word = {"status": status, "amount": "100.50", "currency": "RUB", "reference": "forged", "reason": "forged"}
    notify(client, {"key": str(payout.gateway_key), **word})
    assert {name for name, value in row(payout).items() if value != before[name]} == DUE_COLUMNS


def test_a_notification_that_comes_twice_changes_nothing_more(client):
    payout = make_open(**PENDING)
    notify_of(client, payout)
    after = row(payout)
    assert notify_of(client, payout, payout).status_code == 200
    assert row(payout) == after
    assert PayoutChange.objects.filter(payout_id=payout.pk).count() == 2


def test_a_notification_of_a_gateway_that_cannot_look_has_nothing_sent_again(client, settings, use_routes):
    settings.PAYOUT_HTTP_GATEWAYS["http"]["lookup_url"] = ""
    use_routes(others="http")
    payout = make_open(**IN_DOUBT)
    before = row(payout)
    assert notify_of(client, payout).status_code == 200
    assert row(payout) == before


# --- What it is answered


@pytest.mark.parametrize(
    "body",
    [
        {"key": "01a1fcaf-a016-7176-b7af-bb375d1fea01"},
        {"keys": []},
        {"keys": ["x", 7, None, {}, "01a1fcaf-a016-7176-b7af-bb375d1fea01"]},
        *({"keys": keys} for keys in (7, "x", None, {"a": 1})),
        *({"key": key} for key in (7, "x", None, {"a": 1}, "\0")),
        {},
    ],
    ids=str,
)
def test_a_notification_of_what_we_do_not_know_is_accepted(client, body):
    assert notify(client, body).status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"\xff", b"[" * 60_000], ids=lambda body: ascii(body[:9]))
def test_a_notification_that_cannot_be_read_is_400(client, body):
    assert notify(client, body).status_code == 400


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Bearer x", "Bearer the bank's secre", "Bearer \xff"]
)
@pytest.mark.parametrize("name", ["http", "http.south", "http.silent", "sandbox"])
def test_a_forged_notification_is_refused(client, name, authorization):
    payout = make_open(**PENDING, gateway=name)
    before = row(payout)
    body = {"key": str(payout.gateway_key)}
    assert notify(client, body, name=name, authorization=authorization).status_code == 403
    assert row(payout) == before


def test_the_secret_of_one_route_is_none_of_another(client):
    assert notify(client, {}, name="http.south", authorization=TRUSTED).status_code == 403


def test_many_forged_notifications_change_nothing(client):
    payouts = [make_open(**PENDING), make_payout(Status.COMPLETED, gateway="http")]
    before = [row(payout) for payout in payouts]
    bodies = [{"keys": [str(payout.gateway_key) for payout in payouts], "status": "paid", "n": n} for n in range(500)]
    codes = {notify(client, body, authorization="Bearer forged").status_code for body in bodies}
    assert codes <= {403, 429}
    assert [row(payout) for payout in payouts] == before


@pytest.mark.parametrize("name", ["http.north", "x", "RUB", "*"])
def test_a_gateway_that_is_no_route_is_404(client, name):
    assert notify(client, {}, name=name).status_code == 404


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_a_notification_is_a_post(client, method):
    assert getattr(client, method)("/gateways/http/").status_code == 405


class UnreadableBody(io.BytesIO):
    def read(self, *_args):
        raise AssertionError


def test_a_body_that_is_too_long_is_not_read(client):
    request = {"wsgi.input": UnreadableBody(), "CONTENT_TYPE": "application/json", "HTTP_AUTHORIZATION": TRUSTED}
    length = str(BODY_MAX_BYTES + 1)
    answer = client.generic("POST", "/gateways/http/", **{**request, "CONTENT_LENGTH": length})
    assert answer.status_code == 413


def test_a_body_without_a_length_is_refused(client):
    answer = client.post("/gateways/http/", headers={"Authorization": TRUSTED, "Transfer-Encoding": "chunked"})
    assert answer.status_code == 411


def test_one_address_may_send_only_so_many_in_a_second(client):
    payout = make_open(**PENDING)
    before = row(payout)
    # They may be spread over two seconds.
    codes = [notify(client, {}).status_code for _ in range(2 * MOST_A_SECOND + 1)]
    assert codes[:MOST_A_SECOND] == [200] * MOST_A_SECOND
    assert 429 in codes
    assert row(payout) == before


def test_another_address_is_not_held_up(client):
    for _ in range(2 * MOST_A_SECOND):
        notify(client, {})
    answer = client.post("/gateways/http/", "{}", "application/json", REMOTE_ADDR="10.0.0.7", headers={"a": "b"})
    assert answer.status_code == 403


def test_a_caller_s_token_is_no_secret_of_a_gateway(client, settings):
    settings.API_AUTH = "required"
    assert notify(client, {}, authorization="Token x").status_code == 403
    assert notify(client, {}).status_code == 200


def test_a_refusal_is_in_the_language_of_its_request(client):
    answer = client.post("/gateways/http/", "{}", "application/json", headers={"Accept-Language": "ru"})
    assert answer.json() == {"detail": "Этому уведомлению нет доверия."}


def test_the_metrics_count_notifications(client):
    name = 'payouts_notifications_total{gateway="http",result="refused"}'
    before = read_metrics(client).get(name, 0)
    notify(client, {}, authorization="Bearer forged")
    assert read_metrics(client)[name] == before + 1
