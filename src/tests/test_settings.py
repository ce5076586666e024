"""How settings are read, and how unusable ones are refused. test_entry_points.py tests the start after a refusal."""

import os
import re
import runpy
import socket
from datetime import timedelta

import pytest
from django.db import connection

from tests.local import ROOT

SETTINGS_FILE = str(ROOT / "src/config/settings.py")


def refusal(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as refused:
        runpy.run_path(SETTINGS_FILE)
    return refused.value.code


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEBUG", "perhaps"),
        ("DB_PORT", "x"),
        ("DATABASE_URL", "sqlite:///x"),
        ("CELERY_BROKER_URL", "nonsense://"),
        ("CELERY_BROKER_URL", "amqp://localhost:99999//"),
        ("CELERY_RESULT_BACKEND", "rcp://"),
        ("CELERY_RESULT_BACKEND", "cassandra"),
        ("TIME_ZONE", "Mars"),
        ("API_AUTH", "none"),
        ("LANGUAGE_CODE", "tlh"),
        ("LOG_FORMAT", "xml"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("METRICS_PORT", "99999"),
        ("PAYOUT_LEASE", "39"),
        ("PAYOUT_LEASE", "1e9"),
        ("PAYOUT_RECOVERY_INTERVAL", "1O"),
        ("PAYOUT_GATEWAY_TIMEOUT", "0"),
        ("ALLOWED_HOSTS", "https://payouts.example.com"),
        ("CORS_ALLOWED_ORIGINS", "payouts.example.com"),
        ("PAYOUT_GATEWAY_URL", "https://"),
        ("PAYOUT_GATEWAY_URL", "https://gateway.example.com\n"),
        ("PAYOUT_GATEWAY_URL", "https://gateway.example.com:99999"),
        *(("PAYOUT_ROUTES", value) for value in ("http", "RUB:", "GBP:sandbox", "rub:sandbox", "RUB:sandbox,RUB:http")),
        ("PAYOUT_ROUTE_CALLS", "0"),
        ("SANDBOX_DELAY", "21"),
    ],
)
def test_an_unusable_setting_is_refused_in_one_line(monkeypatch, name, value):
    # With a DATABASE_URL the other settings of the database would not be read.
    monkeypatch.setenv("DATABASE_URL", "")
    assert re.fullmatch(f"The setting {name} cannot be used: .+", refusal(monkeypatch, name, value))


@pytest.mark.parametrize("route", ["http", "http.north"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("URL", ""),
        ("URL", "gateway.example.com"),
        ("TOKEN", "known\n"),
        ("TOKEN", "ключ"),
        ("LOOKUP_URL", "gateway.example.com/{key}"),
        ("LOOKUP_URL", "https://gateway.example.com/{id}"),
        ("LOOKUP_URL", "https://gateway.example.com/{"),
        *(("REMEMBERS", value) for value in ("0", "1e9", "a day")),
        ("TIMEOUT", "0"),
    ],
)
def test_an_unusable_setting_of_a_gateway_is_refused_in_one_line(monkeypatch, route, name, value):
    prefix = "PAYOUT_GATEWAY_NORTH_" if route == "http.north" else "PAYOUT_GATEWAY_"
    monkeypatch.setenv("PAYOUT_ROUTES", f"RUB:sandbox,*:{route}")
    monkeypatch.setenv(f"{prefix}URL", "https://gateway.example.com")
    assert re.fullmatch(
        f"The setting {prefix}{name} cannot be used: .+", refusal(monkeypatch, f"{prefix}{name}", value)
    )


@pytest.mark.parametrize(
    ("name", "value"), [("URL", "api.example.com"), ("ACCOUNT_ID", ""), ("SECRET_KEY", ""), ("SECRET_KEY", "known\n")]
)
def test_an_unusable_setting_of_a_provider_is_refused_in_one_line(monkeypatch, name, value):
    monkeypatch.setenv("PAYOUTS_PROCESS", "worker")
    monkeypatch.setenv("PAYOUT_ROUTES", "RUB:yookassa.north,*:sandbox")
    monkeypatch.setenv("YOOKASSA_NORTH_ACCOUNT_ID", "1")
    monkeypatch.setenv("YOOKASSA_NORTH_SECRET_KEY", "known")
    variable = f"YOOKASSA_NORTH_{name}"
    assert re.fullmatch(f"The setting {variable} cannot be used: .+", refusal(monkeypatch, variable, value))


def test_a_provider_has_the_real_address_and_the_api_no_secret(monkeypatch):
    monkeypatch.setenv("PAYOUTS_PROCESS", "api")
    monkeypatch.setenv("PAYOUT_ROUTES", "USD:paypal")
    monkeypatch.setenv("PAYOUT_RETIRED_ROUTES", "paypal.old")
    monkeypatch.setenv("PAYPAL_OLD_URL", "https://api-m.sandbox.paypal.com/")
    assert runpy.run_path(SETTINGS_FILE)["PAYOUT_PROVIDERS"] == {
        "paypal": {"url": "https://api-m.paypal.com", "user": "", "secret": ""},
        "paypal.old": {"url": "https://api-m.sandbox.paypal.com", "user": "", "secret": ""},
    }


@pytest.mark.parametrize("remembers", ["59", "60"])
def test_a_gateway_that_remembers_no_longer_than_a_lease_is_refused(monkeypatch, remembers):
    monkeypatch.setenv("PAYOUT_GATEWAY", "http")
    monkeypatch.setenv("PAYOUT_GATEWAY_URL", "https://gateway.example.com")
    line = refusal(monkeypatch, "PAYOUT_GATEWAY_REMEMBERS", remembers)
    assert line.startswith("The setting PAYOUT_GATEWAY_REMEMBERS cannot be used: ")


def test_a_lease_has_room_for_the_slowest_gateway(monkeypatch):
    monkeypatch.setenv("PAYOUT_ROUTES", "RUB:http.north,*:sandbox")
    monkeypatch.setenv("PAYOUT_GATEWAY_NORTH_URL", "https://gateway.example.com")
    line = refusal(monkeypatch, "PAYOUT_GATEWAY_NORTH_TIMEOUT", "31")
    assert line.startswith("The setting PAYOUT_LEASE cannot be used: ")


def test_each_gateway_has_settings_of_its_own(monkeypatch):
    monkeypatch.setenv("PAYOUT_ROUTES", "RUB:http.north, EUR:tests.banks.Bank, *:http")
    for prefix in ("PAYOUT_GATEWAY_", "PAYOUT_GATEWAY_NORTH_"):
        monkeypatch.setenv(f"{prefix}URL", f"https://{prefix}")
        monkeypatch.setenv(f"{prefix}LOOKUP_URL", f"https://{prefix}{{key}}")
        monkeypatch.setenv(f"{prefix}TOKEN", prefix)
    monkeypatch.setenv("PAYOUT_GATEWAY_NORTH_REMEMBERS", "3600")
    read = runpy.run_path(SETTINGS_FILE)
    assert read["PAYOUT_ROUTES"] == {"RUB": "http.north", "EUR": "tests.banks.Bank", "*": "http"}
    options = read["PAYOUT_HTTP_GATEWAYS"]
    assert [options[name]["token"] for name in ("http.north", "http")] == ["PAYOUT_GATEWAY_NORTH_", "PAYOUT_GATEWAY_"]
    assert [options[name]["remembers"] / timedelta(hours=1) for name in ("http.north", "http")] == [1, 24]
    assert options.keys() == {"http.north", "http"}


def test_one_setting_is_the_route_of_all_currencies(monkeypatch):
    monkeypatch.setenv("PAYOUT_ROUTES", "")
    assert runpy.run_path(SETTINGS_FILE)["PAYOUT_ROUTES"] == {"*": "sandbox"}


@pytest.mark.parametrize(("routes", "calls"), [("*:sandbox", 1000), ("RUB:tests.banks.Bank,*:sandbox", 3)])
def test_where_there_are_several_routes_one_leaves_a_thread_to_the_others(monkeypatch, routes, calls):
    monkeypatch.setenv("PAYOUT_ROUTES", routes)
    monkeypatch.setenv("CELERY_CONCURRENCY", "4")
    assert runpy.run_path(SETTINGS_FILE)["PAYOUT_ROUTE_CALLS"] == calls


@pytest.mark.parametrize(("name", "scheme"), [("DATABASE_URL", "postgres"), ("CELERY_BROKER_URL", "amqp")])
def test_a_refusal_shows_no_password(monkeypatch, name, scheme):
    line = refusal(monkeypatch, name, f"{scheme}://payouts:secret/word@localhost/x")
    assert line.startswith(f"The setting {name} cannot be used: it is not a URL; in a password")


def test_the_url_of_the_database_wins_over_the_other_settings(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://payouts@database/payouts")
    # Kubernetes sets this where a service is called db.
    monkeypatch.setenv("DB_PORT", "tcp://10.0.0.1:5432")
    assert runpy.run_path(SETTINGS_FILE)["DATABASE"]["HOST"] == "database"


def test_a_value_that_begins_with_a_dollar_stays_as_it_is(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", r"$HOME \$x")
    assert runpy.run_path(SETTINGS_FILE)["SECRET_KEY"] == r"$HOME \$x"


@pytest.mark.django_db
@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux has this option")
def test_a_connection_notices_within_seconds_that_its_server_is_gone():
    connection.ensure_connection()
    with socket.socket(fileno=os.dup(connection.connection.fileno())) as copy:
        assert 0 < copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 10_000
        assert 0 < copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 10
