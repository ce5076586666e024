"""How settings are read, and how unusable ones are refused. test_entry_points.py tests the start after a refusal."""

import os
import re
import runpy
import socket

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
        ("PAYOUT_GATEWAY_TOKEN", "known\n"),
        ("PAYOUT_GATEWAY_TOKEN", "ключ"),
        ("SANDBOX_DELAY", "21"),
    ],
)
def test_an_unusable_setting_is_refused_in_one_line(monkeypatch, name, value):
    # With a DATABASE_URL the other settings of the database would not be read.
    monkeypatch.setenv("DATABASE_URL", "")
    assert re.fullmatch(f"The setting {name} cannot be used: .+", refusal(monkeypatch, name, value))


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
