"""What the code, its settings, its deployment and its README say of each other."""

import json
import re
import subprocess
import sys
import tomllib
from itertools import chain

import pytest
import yaml
from django.core.management import call_command

from config.routes import PROVIDERS
from tests.local import ROOT

README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = set(PROJECT["project"]["optional-dependencies"])
ENTRY_POINTS = sorted(ROOT.glob("entrypoint_*.sh"))


def test_every_setting_has_a_line_in_the_example():
    sources = "".join(path.read_text() for path in (ROOT / "src/config").glob("*.py"))
    read = set(re.findall(r"""env(?:\.\w+)?\(\s*["'](\w+)""", sources))
    # A gateway with a name of its own reads the same settings with its name in them.
    read |= {f"PAYOUT_GATEWAY_{name}" for name in re.findall(r"""env(?:\.\w+\(|\(|, )f"\{prefix\}(\w+)""", sources)}
    read |= {f"{kind.upper()}_{name}" for kind, (_, *names) in PROVIDERS.items() for name in ("URL", *names)}
    listed = re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(read)


def test_docker_reads_the_example_as_we_do():
    """For its --env-file what follows a value belongs to it, a comment too."""
    for line in (ROOT / ".env.example").read_text().splitlines():
        assert re.fullmatch(r"#.*|\w+=\S*|", line), line


def test_every_dependency_has_a_line_in_the_readme():
    requirements = [*PROJECT["project"]["dependencies"], *chain(*PROJECT["dependency-groups"].values())]
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in requirements} - {PROJECT["project"]["name"]}
    for name in names | EXTRAS:
        assert re.search(rf"\b{name}\b", README), name


@pytest.mark.parametrize("name", ["Dockerfile", "docs/operations.md"])
def test_the_extras_are_told(name):
    assert set(re.findall(r"--extra (\w+)", (ROOT / name).read_text())) == EXTRAS


def test_the_readme_takes_five_minutes():
    assert len(README.split()) <= 1300


def anchors(page):
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


LINK = re.compile(r"\]\(([^)\s]+)\)")
LINKS = [(page, link) for page in PAGES for link in LINK.findall(page.read_text()) if "://" not in link]


@pytest.mark.parametrize(("page", "link"), LINKS, ids=lambda value: getattr(value, "name", value))
def test_a_link_leads_somewhere(page, link):
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    assert target.exists()
    assert not anchor or anchor in anchors(target)


def test_every_page_of_the_documentation_is_linked():
    pages = {page.relative_to(ROOT).as_posix() for page in PAGES} - {"README.md"}
    assert pages <= {link for page, link in LINKS if page.name == "README.md"}


def test_every_picture_is_shown_and_light():
    shown = {(page.parent / link).resolve() for page, link in LINKS}
    pictures = set((ROOT / "docs/pictures").iterdir())
    assert pictures
    assert pictures <= shown
    assert max(picture.stat().st_size for picture in pictures) <= 80_000
    assert sum(picture.stat().st_size for picture in pictures) <= 500_000


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((ROOT / "docker-compose/docker-compose.local.yaml").read_text())


def test_compose_follows_its_schema():
    path = ROOT / "docker-compose/docker-compose.local.yaml"
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", path]
    assert subprocess.run(check, capture_output=True, check=False).returncode == 0


def test_compose_runs_the_three_entry_points(compose):
    ours = [service for service in compose["services"].values() if service["image"] == "payouts_service"]
    assert sorted(service["command"][0] for service in ours) == [script.name for script in ENTRY_POINTS]
    for name in ("api", "worker"):
        conditions = {key: value["condition"] for key, value in compose["services"][name]["depends_on"].items()}
        assert conditions == {"migrations": "service_completed_successfully", "rabbitmq": "service_healthy"}


def test_compose_publishes_each_port(compose):
    ports = [port.split(":")[-1] for service in compose["services"].values() for port in service.get("ports", ())]
    assert sorted(ports) == ["15672", "3000", "5432", "5672", "8080", "9090"]


def test_compose_sets_only_settings_that_exist(compose):
    listed = re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    for name in ("api", "worker"):
        assert compose["services"][name]["environment"].keys() <= set(listed)


def test_compose_mounts_files_that_exist(compose):
    services = compose["services"].values()
    mounts = [volume.split(":") for service in services for volume in service.get("volumes", ())]
    files = [(ROOT / "docker-compose" / source, target) for source, target, *_ in mounts if source.startswith(".")]
    assert {path for path, _ in files} == set((ROOT / "docker-compose/monitoring").iterdir())
    for service in services:
        named = re.findall(r"/etc/[\w/.]+", f"{service.get('command')} {service.get('environment')}")
        assert set(named) <= {target for _, target in files}


def test_prometheus_and_grafana_start_only_when_asked_for(compose):
    profiles = {name: service["profiles"] for name, service in compose["services"].items() if "profiles" in service}
    assert profiles == {"prometheus": ["monitoring"], "grafana": ["monitoring"]}


def test_prometheus_finds_the_api_and_the_worker(compose):
    jobs = yaml.safe_load((ROOT / "docker-compose/monitoring/prometheus.yaml").read_text())["scrape_configs"]
    ports = {job["job_name"]: [(c["names"], c["port"]) for c in job["dns_sd_configs"]] for job in jobs}
    of_worker = compose["services"]["worker"]["environment"]["METRICS_PORT"]
    assert ports == {"api": [(["api"], 8080)], "worker": [(["worker"], of_worker)]}


def test_the_dashboard_asks_the_datasource_that_there_is(compose):
    folder = ROOT / "docker-compose/monitoring"
    [source] = yaml.safe_load((folder / "datasource.yaml").read_text())["datasources"]
    [port] = compose["services"]["prometheus"]["ports"]
    assert source["url"] == f"http://prometheus:{port.split(':')[-1]}"
    panels = json.loads((folder / "payouts.json").read_text())["panels"]
    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}
    [provider] = yaml.safe_load((folder / "dashboards.yaml").read_text())["providers"]
    [dashboard] = [v for v in compose["services"]["grafana"]["volumes"] if "payouts.json" in v]
    assert dashboard.split(":")[1] == f"{provider['options']['path']}/payouts.json"


@pytest.mark.django_db
def test_production_passes_the_checks_of_a_deployment(settings):
    settings.API_AUTH, settings.PAYOUT_ROUTES = "required", {"*": "http"}
    call_command("check", deploy=True, fail_level="WARNING")


@pytest.mark.django_db
def test_no_migration_is_missing():
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
