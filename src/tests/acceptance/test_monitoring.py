"""The alerts and the dashboard against the metrics of the API and of a worker."""

import json
import os
import re
import shutil
import subprocess

import pytest
import yaml

from payouts.gateways.sandbox import PENDING_PAID_NUMBER, REFUSED_NUMBER, RETURNED_NUMBER, UNKNOWN_NUMBER
from tests.acceptance.service import NO_BROKER, call, deployment, wait_until
from tests.local import ROOT, free_port

MONITORING = ROOT / "docker-compose/monitoring"
RULES = [
    rule for group in yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
PANELS = json.loads((MONITORING / "payouts.json").read_text())["panels"]
OPERATIONS = (ROOT / "docs/operations.md").read_text()
EXPRESSIONS = {rule["alert"]: [rule["expr"]] for rule in RULES} | {
    panel["title"]: [target["expr"] for target in panel["targets"]] for panel in PANELS
}
# Prometheus itself makes these.
METRICS_OF_PROMETHEUS = {"up", "ALERTS"}


@pytest.fixture(scope="module")
def samples(migrated_database):
    """The name and labels of every sample. Before, a payout of each outcome was paid, and a notification refused."""
    with deployment(migrated_database, PAYOUT_RECOVERY_INTERVAL="0.5", PAYOUT_ROUTES="RUB:sandbox") as service:
        service.start_api(CELERY_BROKER_URL=NO_BROKER)
        for number in (REFUSED_NUMBER, UNKNOWN_NUMBER, PENDING_PAID_NUMBER):
            service.post(recipient_details={"number": number})
        without_route = service.post(currency="EUR")
        came_back = service.post(recipient_details={"number": RETURNED_NUMBER})
        call("POST", f"{service.base}/gateways/sandbox/", {})
        port = free_port()
        service.start_worker(METRICS_PORT=str(port))
        wait_until(lambda: service.log_lines(attempt=2, message="outcome unknown: the sandbox does not say"))
        wait_until(lambda: service.log_lines(payout=without_route["id"], outcome="absent"))
        service.wait_for(came_back, "COMPLETED")
        with service.database.connect() as connection:
            connection.execute("UPDATE payouts_payout SET due_at = now() WHERE id = %s", [came_back["id"]])
        service.wait_for(came_back, "FAILED")
        bases = {"api": service.base, "worker": f"http://127.0.0.1:{port}"}
        return [
            (sample[1], {**dict(re.findall(r'(\w+)="([^"]*)"', sample[2] or "")), "job": job})
            for job, base in bases.items()
            for sample in re.finditer(r"^(\w+)(\{.*\})? ", call("GET", f"{base}/metrics").body.decode(), re.MULTILINE)
        ]


def selectors(expression):
    """Each metric of the expression, with its conditions on labels and the labels that it groups by."""
    groups = {name for names in re.findall(r"\bby \(([^)]*)\)", expression) for name in names.split(", ")}
    plain = re.sub(r"\b(?:by|without|on) \([^)]*\)", "", expression)
    for metric, matchers in re.findall(r"\b((?:payouts|http|db)_\w+|up|ALERTS)\b(?:\{([^}]*)\})?", plain):
        yield metric, re.findall(r'(\w+)(=~?)"([^"]*)"', matchers), groups


@pytest.mark.parametrize("title", EXPRESSIONS)
def test_every_expression_finds_its_metrics(samples, title):
    selections = [each for expression in EXPRESSIONS[title] for each in selectors(expression)]
    assert selections
    for metric, matchers, groups in selections:
        if metric in METRICS_OF_PROMETHEUS:
            continue
        series = [labels for name, labels in samples if name == metric]
        assert any(groups <= labels.keys() for labels in series), metric
        for label, operator, value in matchers:
            # A pattern need not match yet: no request has failed with 500.
            values = {labels.get(label) for labels in series}
            assert values - {None} if operator == "=~" else value in values, (metric, label)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_names_its_runbook(rule):
    assert rule["annotations"]["summary"]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert f"\n## {rule['annotations']['runbook']}\n" in OPERATIONS
    assert f"\n| `{rule['alert']}` |" in OPERATIONS


def test_the_runbook_lists_each_alert_and_no_other():
    table = OPERATIONS.split("\n## Alerts\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [rule["alert"] for rule in RULES]


PROMTOOL = shutil.which("promtool")
FAILURES = 'http_request_duration_seconds_count{job="api", instance="a", status="503"}'
ABANDONED = 'payouts_abandoned_total{job="worker", instance="a"}'


def attempts(outcome, gateway="http"):
    return f'payouts_attempts_total{{job="worker", instance="a", outcome="{outcome}", gateway="{gateway}"}}'


def open_keys(gateway, values):
    """The age of the oldest key of this gateway, beside what another one remembers: a day."""
    return {
        f'payouts_asked_seconds{{instance="a", gateway="{gateway}"}}': values,
        'payouts_gateway_remembers_seconds{instance="b", gateway="http"}': "86400x120",
    }


REFUSED_NOTIFICATIONS = 'payouts_notifications_total{gateway="http", result="refused"}'


# The values of a scrape each ten seconds, and for some minutes, whether the alert fires.
@pytest.mark.skipif(PROMTOOL is None and not os.environ.get("CI"), reason="promtool is not installed")
@pytest.mark.parametrize(
    ("alert", "series", "fires"),
    [
        ("RequestsFail", {FAILURES: "_x120 1x120"}, {19: False, 21: True, 24: True, 26: False, 35: False}),
        ("RequestsFail", {FAILURES: "1x120 2x120"}, {19: False, 21: True, 24: True, 26: False, 35: False}),
        ("RequestsFail", {FAILURES: "7x120 _x3 3x120"}, {19: False, 21: True, 27: False}),
        ("RequestsFail", {FAILURES: "7x360 stale 7x120"}, {59: False, 61: False, 65: False, 66: False, 75: False}),
        ("RequestsFail", {FAILURES: "7x360 _x60 7x120"}, {59: False, 71: False, 75: False, 76: False, 80: False}),
        ("WorkersDie", {ABANDONED: "0x60 4x120"}, {9: False, 11: True, 21: False}),
        ("WorkersDie", {ABANDONED: "_x60 4x120"}, {11: True, 21: False}),
        ("WorkersDie", {ABANDONED: "0x6 4x66 _x3 0x6 4x66 _x3 0x6 4x66"}, {2: True, 12: False, 15: True, 27: True}),
        ("WorkersDie", {ABANDONED: "4x360 stale 4x120"}, {59: False, 61: False, 70: False, 71: False, 79: False}),
        ("PayoutsUnsettled", {'payouts_open_seconds{stage="DOUBT"}': "0x60 1000x60"}, {11: False, 13: True}),
        ("PayoutsUnsettled", {'payouts_open_seconds{stage="PENDING"}': "1000x120"}, {13: False}),
        ("PayoutsWaitForPerson", {'payouts_open{stage="WAITS"}': "0x60 2x60"}, {9: False, 11: True}),
        ("PayoutsPendingLong", {'payouts_open_seconds{stage="PENDING"}': "86000x60 87000x90"}, {19: False, 21: True}),
        ("KeysForgottenSoon", open_keys("http", "40000x60 50000x60"), {9: False, 11: True}),
        ("KeysForgottenSoon", open_keys("sandbox", "50000x120"), {11: False}),
        ("PayoutOutcomesUnknown", {attempts("unknown"): "0+1x60", attempts("paid"): "0+8x60"}, {3: False, 7: True}),
        ("PayoutOutcomesUnknown", {attempts("unknown"): "0+1x60", attempts("paid"): "0+10x60"}, {7: False}),
        ("PayoutOutcomesUnknown", {attempts("unknown"): "0+1x60", attempts("paid", "sandbox"): "0+10x60"}, {7: True}),
        ("PayoutsRefused", {attempts("refused"): "0+1x60", attempts("paid", "sandbox"): "0+10x60"}, {7: True}),
        ("GatewayAway", {attempts("absent"): "0+2x60", attempts("paid"): "0+1x60"}, {3: False, 7: True}),
        ("GatewayAway", {attempts("absent"): "0+1x60", attempts("paid"): "0+2x60"}, {7: False}),
        ("GatewayAway", {attempts("absent"): "0x59 1x59 2x59 3x59"}, {9: False, 17: True, 25: True, 35: True}),
        ("NoRoute", {'payouts_unroutable_total{name="EUR"}': "_x30 1x5 2x60"}, {4: False, 7: True}),
        ("MoneyCameBack", {attempts("returned"): "_x60 1x400"}, {9: False, 11: True, 60: True, 75: False}),
        ("MoneyCameBack", {attempts("returned"): "1x720 2x60"}, {119: False, 121: True}),
        ("NotificationsRefused", {REFUSED_NOTIFICATIONS: "0+10x120"}, {8: False, 13: True}),
        ("NotificationsRefused", {REFUSED_NOTIFICATIONS: "0x60 1x60"}, {13: False}),
        ("PayoutsPileUp", {'payouts_in_flight{status="NEW"}': "0x60 5000x120"}, {14: False, 17: True, 25: False}),
    ],
)
def test_an_alert_fires_when_it_should(tmp_path, alert, series, fires):
    expression = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})'
    tests = [
        {"expr": expression, "eval_time": f"{minute}m", "exp_samples": [{"labels": "{}", "value": 1}] * fire}
        for minute, fire in fires.items()
    ]
    input_series = [{"series": name, "values": values} for name, values in series.items()]
    group = {"interval": "10s", "input_series": input_series, "promql_expr_test": tests}
    file = {"rule_files": [str(MONITORING / "alerts.yaml")], "evaluation_interval": "10s", "tests": [group]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(file))
    command = [PROMTOOL, "test", "rules", tmp_path / "test.yaml"]
    run = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert run.returncode == 0, run.stdout
