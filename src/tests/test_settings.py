"""What is set wrong is refused before anything is started: test_entry_points.py has what becomes of a refusal."""

import re
import runpy

import pytest

from tests.local import ROOT

SETTINGS = str(ROOT / "src/config/settings.py")


def refusal(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(SETTINGS)
    return stopped.value.code


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
    # With it the others of the database are not read.
    monkeypatch.setenv("DATABASE_URL", "")
    assert re.fullmatch(f"The setting {name} cannot be used: .+", refusal(monkeypatch, name, value))


@pytest.mark.parametrize(("name", "scheme"), [("DATABASE_URL", "postgres"), ("CELERY_BROKER_URL", "amqp")])
def test_a_refusal_shows_no_password(monkeypatch, name, scheme):
    said = refusal(monkeypatch, name, f"{scheme}://payouts:secret/word@localhost/x")
    assert said.startswith(f"The setting {name} cannot be used: it is not a URL; in a password")


def test_what_is_in_the_url_of_the_database_is_not_read_elsewhere(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://payouts@database/payouts")
    # As Kubernetes does it where a service has the name db.
    monkeypatch.setenv("DB_PORT", "tcp://10.0.0.1:5432")
    assert runpy.run_path(SETTINGS)["DATABASE"]["HOST"] == "database"


def test_a_value_that_begins_with_a_dollar_stays_as_it_is(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", r"$HOME \$x")
    assert runpy.run_path(SETTINGS)["SECRET_KEY"] == r"$HOME \$x"
