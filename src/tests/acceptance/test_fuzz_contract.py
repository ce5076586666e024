"""The OpenAPI document against the running service: by random requests, and by a generated client."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.service import BIN, call, deployment
from tests.budget import EXAMPLES, SEED
from tests.local import ROOT

HERE = Path(__file__).parent
REQUEST = {"amount": "12.30", "currency": "EUR", "recipient_details": {"iban": "DE02120300000000202051"}}


@pytest.fixture(scope="module")
def closed_service(migrated_database):
    """As in production, callers need a token."""
    with deployment(migrated_database, API_AUTH="required") as service:
        service.start_api()
        service.start_worker()
        yield service


@pytest.fixture(scope="module")
def token(closed_service):
    command = [ROOT / "src/manage.py", "create_token", "fuzz", "--user", "fuzz", "--new-account"]
    run = subprocess.run(command, env=closed_service.environment, check=True, capture_output=True, text=True)
    return run.stdout.strip()


def test_the_document_is_true(closed_service, token):
    """Schemathesis looks for 5xx, undocumented answers, accepted bad requests, refused good ones and broken links."""
    options = ["--config-file", HERE / "schemathesis.toml", "run", f"{closed_service.base}/swagger.json"]
    extent = ["--max-examples", str(EXAMPLES), "--seed", str(SEED), "--continue-on-failure", "--no-color"]
    command = [BIN / "schemathesis", *options, *extent, "--header", f"Authorization: Token {token}"]
    # Schemathesis looks for its hooks in the working directory.
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
def payouts_api(client, service):
    with client.ApiClient(client.Configuration(host=f"{service.base}/api/v1")) as connection:
        yield client.PayoutsApi(connection)


def test_the_generator_warns_of_nothing(generated):
    _folder, run = generated
    # The generator prints this for every document that defines anything.
    lines = [line for line in run.stdout.splitlines() if "Failed to get the schema name: null" not in line]
    assert [line for line in lines if "INFO" not in line and not line.startswith("#")] == []


def test_the_generated_client_sends_a_payout_once(client, payouts_api):
    request = client.PayoutPost(**REQUEST, user_id=7, comment="by a generated client")
    payout = payouts_api.payouts_create(request, idempotency_key="generated-1")
    again = payouts_api.payouts_create_with_http_info(request, idempotency_key="generated-1")
    assert (again.status_code, again.data.id) == (200, payout.id)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert payouts_api.payouts_read(payout.id).amount == "12.30"


def test_the_generated_client_lists_page_by_page(client, payouts_api):
    payouts = [payouts_api.payouts_create(client.PayoutPost(**REQUEST, user_id=2**40)).id for _number in range(3)]
    page = payouts_api.payouts_list(user_id=2**40, page_size=2, ordering="created_at")
    cursor = page.next.split("cursor=")[1].split("&")[0].replace("%3A", ":")
    rest = payouts_api.payouts_list(user_id=2**40, page_size=2, ordering="created_at", cursor=cursor)
    assert [payout.id for payout in page.results + rest.results] == payouts


def test_the_generated_client_changes_and_deletes(client, payouts_api, service):
    payout = payouts_api.payouts_create(client.PayoutPost(**REQUEST))
    service.wait_for({"id": payout.id}, "COMPLETED")
    assert payouts_api.payouts_partial_update(payout.id, data=client.PayoutPatch(comment="seen")).comment == "seen"
    with pytest.raises(client.exceptions.ConflictException) as conflict:
        payouts_api.payouts_partial_update(payout.id, data=client.PayoutPatch(status="CANCELLED"))
    assert json.loads(conflict.value.body)["status"] == "COMPLETED"
    payouts_api.payouts_delete(payout.id)
    with pytest.raises(client.exceptions.NotFoundException):
        payouts_api.payouts_read(payout.id)
    assert payouts_api.payouts_history(payout.id).results[-1].changes.keys() == {"deleted_at"}
