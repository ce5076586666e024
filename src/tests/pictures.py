"""
The pictures of the documentation: `make pictures`.

Starts the service and sends it a day's payouts over HTTP. Then an accountant works in the back office, in a real
browser, and each page becomes a file in docs/pictures. Only addresses and visible words are used, so that the pictures
can be taken anew however the pages are made.
"""

import base64
import itertools
import json
import os
import random
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import urljoin

from playwright.sync_api import Locator, Page, expect, sync_playwright

from tests.acceptance.service import Database, Service, call, wait_until
from tests.local import ROOT
from tests.servers import servers

FOLDER = ROOT / "docs/pictures"
BROWSER = shutil.which("google-chrome") or shutil.which("chromium")
# WebP is a third of a PNG here, and GitHub shows it.
FORMAT = {"format": "webp", "quality": 75}
WIDTH, HEIGHT, DIALOG_WIDTH = 1280, 800, 800

OWNER, ACCOUNTANT, GROUP, PASSWORD = "owner", "accountant", "Back office", "correct horse battery"
PERMISSIONS = ["Can change payout", "Can settle payouts by hand", "Can view payout"]

# A second or so between the tries of an unknown outcome, so that there are some.
HASTY = {"PAYOUT_RECOVERY_INTERVAL": "1", "CELERY_CONCURRENCY": "8"}
# An hour: what a killed worker has in hand stays Processing while the pictures are taken.
SLOW = {"PAYOUT_LEASE": "3600", "PAYOUT_RECOVERY_INTERVAL": "3600", "SANDBOX_DELAY": "20", "CELERY_CONCURRENCY": "3"}

# The sandbox refuses the second card, and gives no answer for the third.
CARD, REFUSED, UNKNOWN = "4111111111111111", "4000000000000002", "4000000000000119"
SALARIES = ("48250.00", "61900.00", "75000.00", "88430.50", "102600.00")
PAYROLL = ("Salary for November", "Bonus for the third quarter", "Travel expenses, trade fair", "Holiday pay")
SHOP = ("Refund of order 10427", "Prize of the autumn draw", "Refund of order 10391", "Cashback for October")
FAILURES = ("The account is closed.", "The account is closed.", "The name does not fit the account.")


def card(number: str) -> dict[str, str]:
    return {"type": "card", "number": number, "holder": "CARD HOLDER"}


class Caller:
    """Another service of the company, with a token of its own."""

    def __init__(self, service: Service, account: str) -> None:
        self.url = service.payouts
        self.token = service.manage("create_token", "production", "--user", account).stdout.strip()

    def call(self, method: str, url: str, body: Any = None) -> Any:
        answer = call(method, url, body, Authorization=f"Token {self.token}")
        assert answer.status in (200, 201), answer
        return answer.json()

    def post(self, number: str, **fields: str) -> str:
        return str(self.call("POST", self.url, {"recipient_details": card(number), **fields})["id"])

    def patch(self, payout: str, **fields: str) -> None:
        self.call("PATCH", f"{self.url}{payout}/", fields)

    def wait_for(self, payout: str, status: str, attempts: int = 1) -> None:
        def has_come() -> bool:
            shown = self.call("GET", f"{self.url}{payout}/")
            return bool(shown["status"] == status and shown["attempt"] >= attempts)

        wait_until(has_come)


class Day:
    """A day's payouts, of every status."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.chance = random.Random(5)
        self.users = map(str, itertools.cycle(range(4101, 4160)))
        self.payroll, self.shop = Caller(service, "payroll"), Caller(service, "shop")

    def pay_out(self, number: str = CARD) -> str:
        amount, comment = self.chance.choice(SALARIES), self.chance.choice(PAYROLL)
        return self.payroll.post(number, amount=amount, currency="RUB", user_id=next(self.users), comment=comment)

    def refund(self, number: str = CARD) -> str:
        amount, currency = f"{self.chance.randrange(500, 40_000) / 100:.2f}", self.chance.choice(["EUR", "EUR", "USD"])
        comment = self.chance.choice(SHOP)
        return self.shop.post(number, amount=amount, currency=currency, user_id=next(self.users), comment=comment)

    def begin(self) -> None:
        """A person's payouts come first: they must be settled and cancelled before a worker can take them."""
        for reason in FAILURES:
            self.payroll.patch(self.pay_out(), status="FAILED", failure_reason=reason)
        for _ in range(3):
            self.shop.patch(self.refund(), status="CANCELLED")
        self.worker = self.service.start_worker(**HASTY)
        for _ in range(30):
            self.pay_out()
            self.pay_out()
            self.refund()
        self.refused = [self.refund(REFUSED) for _ in range(5)]
        self.payroll.wait_for(self.pay_out(), "COMPLETED")
        self.shop.wait_for(self.refused[-1], "FAILED")

    def leave_in_doubt(self) -> None:
        """Stops the worker when it has asked about these for the fourth time."""
        for payout in [self.pay_out(UNKNOWN), self.pay_out(UNKNOWN)]:
            self.payroll.wait_for(payout, "PROCESSING", attempts=4)
        self.service.stop(self.worker)

    def spread(self) -> None:
        """Moves these payouts back: they came within seconds, and the start page shows 24 hours."""
        with self.service.database.connect() as connection, connection.transaction():
            payouts = connection.execute("SELECT id, status FROM payouts_payout").fetchall()
            # The history shall not tell of this.
            connection.execute("ALTER TABLE payouts_payout DISABLE TRIGGER USER")
            for payout, status in payouts:
                hours = 0.5 if status == "PROCESSING" else self.chance.triangular(0.1, 23.5, 6)
                move = {"by": timedelta(hours=hours), "id": payout}
                connection.execute(
                    "UPDATE payouts_payout SET created_at = created_at - %(by)s, updated_at = updated_at - %(by)s,"
                    " processed_at = processed_at - %(by)s WHERE id = %(id)s",
                    move,
                )
                connection.execute("UPDATE payouts_payoutchange SET at = at - %(by)s WHERE payout_id = %(id)s", move)
            connection.execute("ALTER TABLE payouts_payout ENABLE TRIGGER USER")

    def leave_in_flight(self) -> None:
        """Three are in the hands of a worker that is killed, four find no worker."""
        worker = self.service.start_worker(**SLOW)
        for payout in [self.pay_out() for _ in range(3)]:
            self.payroll.wait_for(payout, "PROCESSING")
        worker.kill()
        worker.wait()
        for _ in range(2):
            self.pay_out()
            self.refund()


class BackOffice:
    """The pages of the admin, and what a person does there."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self.base = f"{base}/admin/"
        self.camera = page.context.new_cdp_session(page)

    def open(self, path: str) -> None:
        # A narrow page hides its buttons in a menu.
        self.page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
        self.page.goto(self.base + path)

    def open_first(self, query: str) -> None:
        """The newest payout of a list."""
        self.open(f"payouts/payout/?{query}")
        self.page.locator("tbody").get_by_role("link").first.click()

    def log_in(self, account: str) -> None:
        self.page.context.clear_cookies()
        self.open("")
        self.fill(Username=account, Password=PASSWORD)
        self.page.get_by_role("button", name="Log in").click()

    def fill(self, **fields: str) -> None:
        for label, value in fields.items():
            # The star of a field that is required belongs to its label.
            self.field(label.replace("_", " ")).fill(value)

    def field(self, label: str) -> Locator:
        return self.page.get_by_label(label, exact=True).or_(self.page.get_by_label(f"{label}*", exact=True))

    def save(self) -> None:
        self.page.get_by_role("button", name="Save", exact=True).click()
        expect(self.page.get_by_text("successfully")).to_be_visible()

    def take(self, name: str, height: int = 0, width: int = WIDTH) -> None:
        """As high as this, or as the page."""
        self.page.wait_for_load_state("networkidle")
        self.page.set_viewport_size({"width": width, "height": height or HEIGHT})
        if not height:
            whole = self.page.evaluate("document.documentElement.scrollHeight")
            self.page.set_viewport_size({"width": width, "height": whole})
        self.page.evaluate("document.activeElement?.blur()")
        self.page.mouse.move(0, 0)
        # Charts, dialogs and messages fade in.
        self.page.wait_for_timeout(1000)
        picture = base64.b64decode(self.camera.send("Page.captureScreenshot", FORMAT)["data"])
        (FOLDER / f"{name}.webp").write_bytes(picture)
        print(f"{len(picture):7,}  {name}.webp", flush=True)

    def choose(self, *labels: str) -> None:
        """Moves these from the page's first list of what is available to the list of what is chosen."""
        available = self.page.locator("select[multiple]").first
        options = available.get_by_role("option").all_inner_texts()
        available.select_option([option for option in options if option.rpartition(" | ")[-1] in labels])
        self.page.get_by_role("button", name="Choose selected").first.click()

    def open_dialog(self, title: str, **fields: str) -> None:
        self.page.get_by_role("link", name=title).click()
        expect(self.page.get_by_role("button", name=title)).to_be_visible()
        self.fill(**fields)

    def confirm(self, title: str) -> None:
        self.page.get_by_role("button", name=title).click()
        expect(self.page.get_by_text("Done. The history names you and your reason.")).to_be_visible()


def set_up(office: BackOffice) -> None:
    """What an owner does on the first day: a group with permissions, an account in it, a token for a service."""
    office.log_in(OWNER)
    office.open("auth/group/add/")
    office.fill(Name=GROUP)
    office.choose(*PERMISSIONS)
    office.take("permissions", 560)
    office.save()
    office.open("auth/user/add/")
    office.fill(Username=ACCOUNTANT, Password=PASSWORD, Password_confirmation=PASSWORD)
    office.save()
    office.page.get_by_label("Staff status").check()
    office.choose(GROUP)
    office.save()
    office.open("")
    # The menu is folded on a page as narrow as this.
    tokens = office.page.locator("a", has_text="Tokens").first.get_attribute("href")
    office.page.goto(f"{urljoin(office.base, tokens)}add/")
    office.page.get_by_label("Account").select_option("payroll")
    office.fill(Name="from December")
    office.save()
    office.take("token", 420)


def correct(office: BackOffice, payout: str) -> None:
    """Sends a payout back with another card. A worker pays it then."""
    office.open(f"payouts/payout/{payout}/change/")
    details = json.dumps(card(CARD))
    office.open_dialog("Send back to NEW", Recipient_details=details, Reason="The customer has sent another card.")
    office.take("send-back", 600, DIALOG_WIDTH)
    office.confirm("Send back to NEW")


def look_around(office: BackOffice, corrected: str) -> None:
    """What an accountant sees. No dialog is confirmed, so that the next picture finds the same payouts."""
    office.open("")
    office.take("start")
    office.open("payouts/payout/")
    office.take("list", 800)
    office.page.get_by_text("Filters").first.click()
    office.take("filters", 800)
    office.open(f"payouts/payout/{corrected}/change/")
    office.take("payout")
    office.open_first("stuck=doubt")
    office.take("unknown", 640)
    office.open_dialog("Settle the unknown outcome", Reason="The provider's support: booked on 30 November.")
    office.fill(Gateway_reference="2711-88402")
    office.page.get_by_label("Completed").check()
    office.take("settle-unknown", 620, DIALOG_WIDTH)
    office.open_first("status__exact=NEW")
    office.open_dialog("Cancel the payout", Reason="Order 10391 was refunded in cash.")
    office.take("cancel", 360, DIALOG_WIDTH)
    office.open_first("status__exact=NEW")
    office.open_dialog("Settle by hand", Reason="Paid from the bank's own pages, receipt 4471.")
    office.fill(Gateway_reference="receipt 4471")
    office.page.get_by_label("Completed").check()
    office.take("settle", 600, DIALOG_WIDTH)


@contextmanager
def running() -> Iterator[Service]:
    database = Database()
    service = Service(database, API_AUTH="required")
    try:
        service.migrate()
        service.start_api()
        yield service
    finally:
        service.close()
        database.drop()


@contextmanager
def browsing() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser.new_page(locale="en-GB")
        browser.close()


def main() -> None:
    if BROWSER is None:
        sys.exit("There is no Chromium on the PATH.")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    with servers, running() as service, browsing() as page:
        staff = {"DJANGO_SUPERUSER_PASSWORD": PASSWORD, "DJANGO_SUPERUSER_EMAIL": "owner@example.com"}
        service.manage("createsuperuser", "--noinput", "--username", OWNER, **staff)
        day = Day(service)
        day.begin()
        # A cookie that is for HTTPS alone is sent to this name, too.
        office = BackOffice(page, service.base.replace("127.0.0.1", "localhost"))
        set_up(office)
        office.log_in(ACCOUNTANT)
        correct(office, day.refused[0])
        day.shop.wait_for(day.refused[0], "COMPLETED")
        day.leave_in_doubt()
        day.spread()
        day.leave_in_flight()
        look_around(office, day.refused[0])


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    main()
