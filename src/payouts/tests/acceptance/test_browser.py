"""The documentation as a developer uses it, in a real browser, with DEBUG off."""

import os
import re
import shutil

import pytest
from playwright.sync_api import Page, expect, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

if CHROMIUM is None and not os.environ.get("CI"):
    pytest.skip("no Chromium on the PATH: the pages were not looked at", allow_module_level=True)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    """Fails the test for any answer or script on the page that failed."""
    page: Page = browser.new_page(viewport={"width": 1300, "height": 1000})
    failures: list[str] = []
    page.on("response", lambda answer: failures.append(answer.url) if answer.status >= 400 else None)
    page.on("pageerror", lambda error: failures.append(str(error)))
    yield page
    page.close()
    assert failures == []


def test_swagger_tries_out_a_payout(page, service, tmp_path):
    page.goto(f"{service.base}/swagger/")
    operation = page.locator("#operations-payouts-payouts_create")
    operation.get_by_text("Send a payout").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    answer = operation.locator(".live-responses-table")
    expect(answer.locator("tbody .response-col_status").first).to_contain_text("201")
    expect(answer).to_contain_text('"status": "NEW"')
    page.screenshot(path=tmp_path / "swagger.png", full_page=True)
    assert service.database.rows("SELECT count(*) FROM payouts_payout WHERE comment = 'Salary for November'") == [(1,)]


def test_swagger_shows_each_operation_and_its_errors(page, service):
    page.goto(f"{service.base}/swagger/")
    expect(page.locator(".opblock")).to_have_count(7)
    operation = page.locator("#operations-payouts-payouts_partial_update")
    operation.click()
    for code in ("200", "400", "404", "409", "413", "415", "503"):
        expect(operation.locator(f'tr.response[data-code="{code}"]')).to_be_visible()


def test_redoc_is_there(page, service):
    page.goto(f"{service.base}/redoc/")
    expect(page.get_by_role("heading", name=re.compile("Send a payout"))).to_be_visible()
