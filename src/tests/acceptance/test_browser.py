"""The API's documentation and the back office in a real browser, with DEBUG off."""

import os
import re
import shutil
import subprocess

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from payouts.gateways.sandbox import UNKNOWN_NUMBER
from tests.acceptance.service import deployment, wait_until
from tests.local import ROOT

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

# Playwright waits five seconds. On a busy machine an answer takes longer.
expect.set_options(timeout=30_000)

if CHROMIUM is None and not os.environ.get("CI"):
    pytest.skip("no Chromium on the PATH", allow_module_level=True)


@pytest.fixture(scope="module")
def watched_page():
    """A page, and the list of its failures. The tests share it, because a new page takes as long as a test."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page: Page = browser.new_page(viewport={"width": 1300, "height": 1000})
        failures: list[str] = []
        page.on("response", lambda answer: failures.append(answer.url) if answer.status >= 400 else None)
        page.on("pageerror", lambda error: failures.append(str(error)))
        yield page, failures
        browser.close()


@pytest.fixture
def page(watched_page):
    """Fails the test if an answer or a script of the page fails. Nobody is logged in."""
    page, failures = watched_page
    failures.clear()
    yield page
    page.goto("about:blank")
    page.context.clear_cookies()
    assert failures == []


def try_out(page):
    """Sends the example from the documentation, and returns the payout's id."""
    operation = page.locator("#operations-payouts-payouts_create")
    operation.get_by_text("Send a payout").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    answer = operation.locator(".live-responses-table")
    expect(answer.locator("tbody .response-col_status").first).to_contain_text("201")
    expect(answer).to_contain_text('"status": "NEW"')
    return re.search(r'"id": "([^"]+)"', answer.inner_text())[1]


def test_swagger_sends_a_payout(page, service):
    page.goto(f"{service.base}/swagger/")
    try_out(page)
    assert service.database.rows("SELECT count(*) FROM payouts_payout WHERE comment = 'Salary for November'") == [(1,)]


def test_swagger_shows_each_operation_and_its_errors(page, service):
    page.goto(f"{service.base}/swagger/")
    expect(page.locator(".opblock")).to_have_count(7)
    operation = page.locator("#operations-payouts-payouts_partial_update")
    operation.click()
    for code in ("200", "400", "404", "409", "413", "415", "503"):
        expect(operation.locator(f'tr.response[data-code="{code}"]')).to_be_visible()


def test_redoc_shows_the_operations(page, service):
    page.goto(f"{service.base}/redoc/")
    expect(page.get_by_role("heading", name=re.compile("Send a payout"))).to_be_visible()


def manage(service, *arguments, **environment):
    command = [ROOT / "src/manage.py", *arguments]
    environment = {**service.environment, **environment}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


def make_ann(service):
    staff = {"DJANGO_SUPERUSER_PASSWORD": "correct horse", "DJANGO_SUPERUSER_EMAIL": "ann@example.com"}
    manage(service, "createsuperuser", "--noinput", "--username", "ann", **staff)


def log_in(page, base):
    page.goto(f"{base}/admin/")
    page.get_by_label("Username").fill("ann")
    page.get_by_label("Password").fill("correct horse")
    page.get_by_role("button", name="Log in").click()


@pytest.fixture(scope="module")
def closed_service(migrated_database):
    with deployment(migrated_database, API_AUTH="") as service:
        service.start_api()
        service.base = service.base.replace("127.0.0.1", "localhost")
        make_ann(service)
        yield service


def callers(service, payout):
    query = "SELECT caller, split_part(changed_by, ' ', 1) FROM payouts_payout WHERE id = %s"
    return service.database.rows(query, payout)


def authorize(page, **fields):
    page.get_by_role("button", name="Authorize").click()
    for label, value in fields.items():
        page.get_by_label(f"{label}:").fill(value)
    form = page.locator(".auth-container", has=page.get_by_label(f"{label}:"))
    form.get_by_role("button", name="Apply credentials").click()
    page.get_by_role("button", name="Close").first.click()


def test_swagger_authorizes_by_token(page, closed_service):
    token = manage(closed_service, "create_token", "browser", "--user", "shop", "--new-account")
    page.goto(f"{closed_service.base}/swagger/")
    authorize(page, Value=f"Token {token}")
    assert callers(closed_service, try_out(page)) == [("shop", "shop")]


def test_swagger_authorizes_by_password(page, closed_service):
    page.goto(f"{closed_service.base}/swagger/")
    authorize(page, Username="ann", Password="correct horse")
    assert callers(closed_service, try_out(page)) == [("ann", "ann")]


def test_swagger_authorizes_by_the_admin_s_session(page, closed_service):
    log_in(page, closed_service.base)
    page.goto(f"{closed_service.base}/swagger/")
    assert callers(closed_service, try_out(page)) == [("ann", "ann")]


@pytest.fixture(scope="module")
def back_office(service):
    make_ann(service)
    return service.base.replace("127.0.0.1", "localhost")


def test_a_person_finds_and_settles_an_unknown_outcome(page, service, back_office):
    payout = service.post(recipient_details={"number": UNKNOWN_NUMBER})
    query = "SELECT 1 FROM payouts_payout WHERE id = %s AND note <> ''"
    wait_until(lambda: service.database.rows(query, payout["id"]), log=service.log)
    log_in(page, back_office)
    page.get_by_role("link", name="Outcome unknown").click()
    page.get_by_role("row", name=payout["id"]).get_by_role("link").click()
    expect(page.get_by_text("The last one: the sandbox does not say.")).to_be_visible()
    page.get_by_role("link", name="Settle the unknown outcome").click()
    page.get_by_label("Failed").check()
    page.get_by_label("Reason").fill("Never booked, says the gateway.")
    page.get_by_role("button", name="Settle the unknown outcome").click()
    expect(page.get_by_text("Done. The history names you and your reason.")).to_be_visible()
    expect(page.get_by_role("row", name="ann ")).to_contain_text("note: Never booked, says the gateway.")
    assert service.get(payout)["failure_reason"] == "Never booked, says the gateway."


def test_a_phone_shows_the_whole_width_of_a_payout(page, service, back_office):
    payout = service.post(comment="w" * 900, recipient_details={"iban": "x" * 300})
    log_in(page, back_office)
    page.goto(f"{back_office}/admin/payouts/payout/{payout['id']}/change/")
    desktop = page.viewport_size
    page.set_viewport_size({"width": 390, "height": 844})
    rights = page.locator("td, td span, textarea, .field-details span").evaluate_all(
        "cells => cells.map(cell => cell.getBoundingClientRect().right)"
    )
    page.set_viewport_size(desktop)
    assert 360 <= max(rights) <= 390
