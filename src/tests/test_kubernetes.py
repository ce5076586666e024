"""The Kubernetes manifests, as kustomize builds each overlay: they agree with the code and with each other."""

import base64
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from urllib.parse import urlsplit

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from gunicorn.config import GracefulTimeout  # type: ignore[import-untyped]

from tests.local import ROOT
from tests.servers import scratch

KUBERNETES = ROOT / "kubernetes"
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
DEFAULTS = dict(re.findall(r"^(\w+)=(\S*)", (ROOT / ".env.example").read_text(), re.MULTILINE))
DOCKERFILE = (ROOT / "Dockerfile").read_text()
TMP = "/tmp"  # noqa: S108

if shutil.which("kubectl") is None and not os.environ.get("CI"):
    pytest.skip("no kubectl on the PATH", allow_module_level=True)


class Manifests:
    def __init__(self, text):
        self.all = list(yaml.safe_load_all(text))

    def of(self, kind):
        return {manifest["metadata"]["name"]: manifest for manifest in self.all if manifest["kind"] == kind}

    def specs(self, kind):
        return [manifest["spec"] for manifest in self.of(kind).values()]

    def pods(self):
        return {name: deployment["spec"]["template"]["spec"] for name, deployment in self.of("Deployment").items()}

    def container(self, name):
        return self.pods()[name]["containers"][0]

    def containers(self):
        return [each for pod in self.pods().values() for each in (*pod["initContainers"], *pod["containers"])]

    def environment(self):
        [settings], [secrets] = self.of("ConfigMap").values(), self.of("Secret").values()
        return settings["data"] | {name: base64.b64decode(value).decode() for name, value in secrets["data"].items()}


@cache
def build(overlay):
    folder = scratch / f"kubernetes-{overlay}"
    shutil.copytree(KUBERNETES, folder, ignore=shutil.ignore_patterns("secrets.env"))
    secrets = (KUBERNETES / "secrets.env.example").read_text().replace("=\n", f"={'secret' * 10}\n")
    (folder / "overlays" / overlay / "secrets.env").write_text(secrets)
    kubectl = ["kubectl", "kustomize", folder / "overlays" / overlay]
    return Manifests(subprocess.run(kubectl, check=True, capture_output=True, text=True).stdout)


@pytest.fixture(params=OVERLAYS)
def manifests(request):
    return build(request.param)


@pytest.fixture
def production():
    return build("production")


def test_manifests_follow_their_schemas(manifests):
    for manifest in manifests.all:
        # Kubernetes has no schema for this kind of KEDA's.
        if manifest["kind"] != "ScaledObject":
            kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_every_file_is_part_of_an_overlay():
    kustomizations = list(KUBERNETES.rglob("kustomization.yaml"))
    used = set()
    for path in kustomizations:
        kustomization = yaml.safe_load(path.read_text())
        names = [*kustomization["resources"], *kustomization.get("components", ())]
        names += [patch["path"] for patch in kustomization.get("patches", ()) if "path" in patch]
        for kind in ("configMapGenerator", "secretGenerator"):
            names += [name for generator in kustomization.get(kind, ()) for name in generator["envs"]]
        used |= {(path.parent / name).resolve() for name in names}
    files = {path for path in KUBERNETES.rglob("*") if path.is_file()}
    assert files - used - set(kustomizations) == {KUBERNETES / "secrets.env.example"}
    assert sorted(path.parent.name for path in kustomizations if path.parent not in used) == OVERLAYS


def test_secrets_are_never_committed():
    assert "secrets.env" in (ROOT / ".gitignore").read_text().splitlines()


def test_pods_run_the_three_entry_points(manifests):
    commands = {
        name: [*pod["initContainers"][0]["command"], *pod["containers"][0]["command"]]
        for name, pod in manifests.pods().items()
    }
    assert commands == {
        "api": ["entrypoint_migrations.sh", "entrypoint_http_api.sh"],
        "worker": ["entrypoint_migrations.sh", "entrypoint_celery.sh"],
    }
    assert {*commands["api"], *commands["worker"]} == {path.name for path in ROOT.glob("entrypoint_*.sh")}


def test_every_container_is_the_same_image(manifests):
    assert len({container["image"] for container in manifests.containers()}) == 1


def test_the_api_listens_on_the_port_of_the_image(manifests):
    [port] = manifests.container("api")["ports"]
    assert str(port["containerPort"]) == DEFAULTS["PORT"] == re.search(r"^EXPOSE (\d+)", DOCKERFILE, re.MULTILINE)[1]


def test_the_ingress_leads_to_the_api(manifests):
    [ingress], [service] = manifests.specs("Ingress"), manifests.of("Service").values()
    [rule] = ingress["rules"]
    [entrance] = service["spec"]["ports"]
    assert ingress["tls"][0]["hosts"] == [rule["host"]]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    assert backend == {"name": service["metadata"]["name"], "port": {"name": entrance["name"]}}
    [port] = manifests.container("api")["ports"]
    assert entrance["targetPort"] == port["name"]
    assert manifests.of("NetworkPolicy")["api"]["spec"]["ingress"][0]["ports"] == [{"port": port["name"]}]


def test_every_reference_has_a_target(manifests):
    for scaler in (*manifests.specs("HorizontalPodAutoscaler"), *manifests.specs("ScaledObject")):
        assert scaler["scaleTargetRef"]["name"] in manifests.pods()
    generated = {*manifests.of("ConfigMap"), *manifests.of("Secret")}
    for container in manifests.containers():
        assert {source["name"] for reference in container["envFrom"] for source in reference.values()} == generated


def test_every_selector_selects_pods(manifests):
    labels = [deployment["template"]["metadata"]["labels"] for deployment in manifests.specs("Deployment")]
    selectors = [service["selector"] for service in manifests.specs("Service")]
    selectors += [budget["selector"]["matchLabels"] for budget in manifests.specs("PodDisruptionBudget")]
    selectors += [policy["podSelector"]["matchLabels"] for policy in manifests.specs("NetworkPolicy")]
    for pod in manifests.pods().values():
        selectors += [spread["labelSelector"]["matchLabels"] for spread in pod["topologySpreadConstraints"]]
    assert len(selectors) == 10
    assert all(any(selector.items() <= pod.items() for pod in labels) for selector in selectors)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("probe", "path"), [("livenessProbe", "/healthz/"), ("readinessProbe", "/readyz/"), ("startupProbe", "/readyz/")]
)
def test_the_api_answers_its_probes(client, settings, manifests, probe, path):
    settings.ALLOWED_HOSTS = manifests.environment()["ALLOWED_HOSTS"].split(",")
    get = manifests.container("api")[probe]["httpGet"]
    headers = {header["name"]: header["value"] for header in get["httpHeaders"]}
    assert (get["path"], client.get(get["path"], headers=headers).status_code) == (path, 200)


def test_the_api_accepts_the_host_names_that_lead_to_it(client, settings, manifests):
    settings.ALLOWED_HOSTS = manifests.environment()["ALLOWED_HOSTS"].split(",")
    [ingress], [service] = manifests.specs("Ingress"), manifests.of("Service").values()
    internal_host = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc"
    for host in (ingress["rules"][0]["host"], internal_host):
        assert client.get("/healthz/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(("age", "code"), [("1 minute", 0), ("3 minutes", 1), (None, 1)])
def test_a_worker_lives_while_its_heartbeat_is_young(production, tmp_path, age, code):
    if age:
        subprocess.run(["touch", "-d", f"{age} ago", tmp_path / "heartbeat"], check=True)
    probe = production.container("worker")["livenessProbe"]["exec"]
    assert probe == production.container("worker")["startupProbe"]["exec"]
    command = [word.replace(TMP, str(tmp_path)) for word in probe["command"]]
    assert subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == code


def test_pods_have_no_privileges(manifests):
    uid = int(re.search(r"^USER (\d+)", DOCKERFILE, re.MULTILINE)[1])
    for pod in manifests.pods().values():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": uid,
            "runAsGroup": uid,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    for container in manifests.containers():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == [TMP]


def test_every_container_states_its_needs(manifests):
    for container in manifests.containers():
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert container["resources"]["limits"].keys() == {"memory"}


def test_a_worker_has_time_to_finish_two_calls_of_the_gateway(manifests):
    longest = float((DEFAULTS | manifests.environment())["PAYOUT_GATEWAY_TIMEOUT"])
    assert manifests.pods()["worker"]["terminationGracePeriodSeconds"] > 2 * longest


def test_the_api_has_time_to_answer_what_it_has_accepted(manifests):
    pause = manifests.container("api")["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert manifests.pods()["api"]["terminationGracePeriodSeconds"] > pause + GracefulTimeout.default


def test_the_manifests_set_only_settings_that_exist(manifests):
    assert manifests.environment().keys() <= DEFAULTS.keys()


def test_the_secret_contains_the_secrets(manifests):
    [secret] = manifests.of("Secret").values()
    assert secret["data"].keys() == {
        *("SECRET_KEY", "DB_PASSWORD", "CELERY_BROKER_URL", "PAYOUT_GATEWAY_TOKEN"),
        *("PAYOUT_GATEWAY_NOTIFICATION_TOKEN", "YOOKASSA_SECRET_KEY", "PAYPAL_CLIENT_SECRET"),
    }


@pytest.mark.parametrize(
    ("overlay", "gateway", "warnings"),
    [("staging", "SandboxGateway", ["payouts.PAYOUT_GATEWAY"]), ("production", "HTTPGateway", [])],
)
def test_the_settings_of_an_overlay_are_complete(overlay, gateway, warnings):
    check = (
        "from django.core.management import call_command; from payouts.gateways import routes;"
        "call_command('check', deploy=True); print(*(type(route.gateway).__name__ for route in routes().values()))"
    )
    command = [sys.executable, ROOT / "src/manage.py", "shell", "--no-imports", "-c", check]
    run = subprocess.run(command, env=build(overlay).environment(), capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout.split()[-1:]) == (0, [gateway]), run.stderr
    assert re.findall(r"^\?: \((.*?)\)", run.stderr, re.MULTILINE) == warnings


def test_the_network_policies_allow_the_calls_that_pods_make(production):
    environment = DEFAULTS | production.environment()
    policies = production.of("NetworkPolicy")

    def ports(name):
        return {entry["port"] for rule in policies[name]["spec"]["egress"] for entry in rule["ports"]}

    assert {int(environment["DB_PORT"]), urlsplit(environment["CELERY_BROKER_URL"]).port} < ports("payouts")
    assert (urlsplit(environment["PAYOUT_GATEWAY_URL"]).scheme, ports("worker")) == ("https", {443})


def test_a_worker_accepts_calls_only_for_its_metrics(manifests):
    policies = manifests.of("NetworkPolicy")
    assert "Ingress" in policies["payouts"]["spec"]["policyTypes"]
    assert sorted(name for name, policy in policies.items() if "ingress" in policy["spec"]) == ["api", "worker"]
    [rule], [port] = policies["worker"]["spec"]["ingress"], manifests.container("worker")["ports"]
    assert rule["ports"] == [{"port": port["name"]}]
    assert str(port["containerPort"]) == manifests.environment()["METRICS_PORT"]


def test_annotations_lead_prometheus_to_the_ports(manifests):
    for deployment in manifests.specs("Deployment"):
        annotations = deployment["template"]["metadata"]["annotations"]
        [port] = deployment["template"]["spec"]["containers"][0]["ports"]
        assert annotations == {"prometheus.io/scrape": "true", "prometheus.io/port": str(port["containerPort"])}


def test_compose_and_kubernetes_check_the_heartbeat_alike(production):
    compose = yaml.safe_load((ROOT / "docker-compose/docker-compose.local.yaml").read_text())
    _shell, test = compose["services"]["worker"]["healthcheck"]["test"]
    assert test.replace("$$", "$") == production.container("worker")["livenessProbe"]["exec"]["command"][-1]


def test_a_deployment_leaves_the_number_of_pods_to_its_scaler(manifests):
    for scaler in (*manifests.specs("HorizontalPodAutoscaler"), *manifests.specs("ScaledObject")):
        assert "replicas" not in manifests.of("Deployment")[scaler["scaleTargetRef"]["name"]]["spec"]


def test_the_length_of_their_queue_scales_the_workers(production):
    [scaler] = production.specs("ScaledObject")
    [trigger] = scaler["triggers"]
    assert trigger["metadata"]["queueName"] == DEFAULTS["CELERY_TASK_DEFAULT_QUEUE"]
    assert trigger["metadata"]["hostFromEnv"] in production.environment()
    assert scaler["minReplicaCount"] >= 1


def test_postgresql_has_connections_for_all_pods(production):
    """PostgreSQL has 97 connections for us. An upgrade adds one API pod, while one pod of each kind is ending."""
    for name, surge in (("api", 1), ("worker", 0)):
        spec = production.of("Deployment")[name]["spec"]
        assert spec["strategy"]["rollingUpdate"]["maxSurge"] == surge
        assert spec["minReadySeconds"] >= spec["template"]["spec"]["terminationGracePeriodSeconds"]
    of_api = int(DEFAULTS["WEB_CONCURRENCY"]) * int(DEFAULTS["API_THREADS"])
    of_worker = int(DEFAULTS["DB_CONNECTIONS"])
    [api], [worker] = production.specs("HorizontalPodAutoscaler"), production.specs("ScaledObject")
    assert (api["maxReplicas"] + 2) * of_api + (worker["maxReplicaCount"] + 1) * of_worker <= 97
