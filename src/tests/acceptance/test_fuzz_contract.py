"""The OpenAPI document is held against the running service, and a client is made from it."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.service import BIN, call, deployed
from tests.budget import EXAMPLES, SEED
from tests.local import ROOT

HERE = Path(__file__).parent
REQUEST = {"amount": "12.30", "currency": "EUR", "recipient_details": {"iban": "DE02120300000000202051"}}


@pytest.fixture(scope="module")
def closed_service(migrated_database):
    """As in production, where a token is needed."""
    with deployed(migrated_database, API_AUTH="required") as service:
        service.start_api()
        service.start_worker()
        yield service


@pytest.fixture(scope="module")
def token(closed_service):
    command = [ROOT / "src/manage.py", "create_token", "fuzz", "--user", "fuzz"]
    made = subprocess.run(command, env=closed_service.environment, check=True, capture_output=True, text=True)
    return made.stdout.strip()


def test_the_document_is_true(closed_service, token):
    """Schemathesis finds no 5xx, nothing undocumented, no bad request taken, no good one refused, no broken link."""
    options = ["--config-file", HERE / "schemathesis.toml", "run", f"{closed_service.base}/swagger.json"]
    amount = ["--max-examples", str(EXAMPLES), "--seed", str(SEED), "--continue-on-failure", "--no-color"]
    command = [BIN / "schemathesis", *options, *amount, "--header", f"Authorization: Token {token}"]
    # The hooks are looked for in the working directory.
    run = subprocess.run(command, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    print(run.stdout)
    assert run.returncode == 0, run.stdout


@pytest.fixture(scope="module")
def generated(service, tmp_path_factory):
    folder = tmp_path_factory.mktemp("client")
    document = folder / "swagger.json"
    document.write_bytes(call("GET", f"{service.base}/swagger.json").body)
    options = ["-i", document, "-o", folder, "-g", "python", "--package-name", "payouts_client"]
    command = [BIN / "openapi-generator-cli", "generate", *options]
    return folder, subprocess.run(command, capture_output=True, text=True, check=True)


@pytest.fixture(scope="module")
def client(generated):
    folder, _run = generated
    sys.path.insert(0, str(folder))
    yield importlib.import_module("payouts_client")
    sys.path.remove(str(folder))


@pytest.fixture
def payouts(client, service):
    with client.ApiClient(client.Configuration(host=f"{service.base}/api/v1")) as connection:
        yield client.PayoutsApi(connection)


def test_the_generator_warns_of_nothing(generated):
    _folder, run = generated
    # It says so of every document that defines anything.
    lines = [line for line in run.stdout.splitlines() if "Failed to get the schema name: null" not in line]
    assert [line for line in lines if "INFO" not in line and not line.startswith("#")] == []


def test_the_generated_client_sends_a_payout_once(client, payouts):
    request = client.Payout(**REQUEST, user_id=7, comment="by a generated client")
    made = payouts.payouts_create(request, idempotency_key="generated-1")
    again = payouts.payouts_create_with_http_info(request, idempotency_key="generated-1")
    assert (again.status_code, again.data.id) == (200, made.id)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert payouts.payouts_read(made.id).amount == "12.30"


def test_the_generated_client_lists_page_by_page(client, payouts):
    made = [payouts.payouts_create(client.Payout(**REQUEST, user_id=2**40)).id for _number in range(3)]
    page = payouts.payouts_list(user_id=2**40, page_size=2, ordering="created_at")
    cursor = page.next.split("cursor=")[1].split("&")[0].replace("%3A", ":")
    rest = payouts.payouts_list(user_id=2**40, page_size=2, ordering="created_at", cursor=cursor)
    assert [payout.id for payout in page.results + rest.results] == made


def test_the_generated_client_changes_and_deletes(client, payouts, service):
    made = payouts.payouts_create(client.Payout(**REQUEST))
    service.wait_for({"id": made.id}, "COMPLETED")
    assert payouts.payouts_partial_update(made.id, data=client.PayoutPatch(comment="seen")).comment == "seen"
    with pytest.raises(client.exceptions.ConflictException) as conflict:
        payouts.payouts_partial_update(made.id, data=client.PayoutPatch(status="CANCELLED"))
    assert json.loads(conflict.value.body)["status"] == "COMPLETED"
    payouts.payouts_delete(made.id)
    with pytest.raises(client.exceptions.NotFoundException):
        payouts.payouts_read(made.id)
    assert payouts.payouts_history(made.id).results[-1].changes.keys() == {"deleted_at"}
