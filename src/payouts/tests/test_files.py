"""What the code, its settings, its deployment and its README say of each other."""

import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from django.core.management import call_command

from payouts.tests.local import ROOT

README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = set(PROJECT["project"]["optional-dependencies"])
ENTRY_POINTS = sorted(ROOT.glob("entrypoint_*.sh"))


def test_every_setting_has_a_line_in_the_example():
    read = set(re.findall(r'env(?:\.\w+)?\(\s*"(\w+)"', (ROOT / "src/config/settings.py").read_text()))
    for script in ENTRY_POINTS:
        read |= set(re.findall(r"\$\{(\w+):-", script.read_text()))
    listed = re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(read)


def test_every_dependency_has_a_line_in_the_readme():
    requirements = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in requirements} - {PROJECT["project"]["name"]}
    for name in names | EXTRAS:
        assert re.search(rf"\b{name}\b", README), name


@pytest.mark.parametrize("name", ["Dockerfile", "docs/operations.md"])
def test_the_extras_are_told(name):
    assert set(re.findall(r"--extra (\w+)", (ROOT / name).read_text())) == EXTRAS


def test_the_readme_is_short():
    assert README.count("\n") <= 120


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((ROOT / "docker-compose/docker-compose.local.yaml").read_text())


def test_compose_follows_its_schema():
    path = ROOT / "docker-compose/docker-compose.local.yaml"
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", path]
    assert subprocess.run(check, capture_output=True, check=False).returncode == 0


def test_compose_runs_the_three_entry_points(compose):
    commands = {name: service["command"] for name, service in compose["services"].items() if "command" in service}
    assert sorted(command[0] for command in commands.values()) == [script.name for script in ENTRY_POINTS]
    for name in ("api", "worker"):
        conditions = {key: value["condition"] for key, value in compose["services"][name]["depends_on"].items()}
        assert conditions == {"migrations": "service_completed_successfully", "rabbitmq": "service_healthy"}


def test_compose_publishes_each_port(compose):
    ports = [port.split(":")[-1] for service in compose["services"].values() for port in service.get("ports", ())]
    assert sorted(ports) == ["15672", "5432", "5672", "8080"]


def test_compose_sets_only_settings_that_exist(compose):
    listed = re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert compose["services"]["api"]["environment"].keys() <= set(listed)


@pytest.mark.django_db
def test_production_passes_the_checks_of_a_deployment(settings):
    settings.API_AUTH = "required"
    call_command("check", deploy=True, fail_level="WARNING")


@pytest.mark.django_db
def test_no_migration_is_missing():
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
