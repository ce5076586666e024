"""
The pictures of the documentation: `make pictures`.

Starts the service and sends it a day's payouts over HTTP. Then an accountant works in the back office, in a real
browser. Each page becomes a file in docs/pictures. The script uses only addresses and visible words, so that a change
of the pages' HTML does not break it.
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
# A WebP has a third of the size of a PNG here, and GitHub shows it.
FORMAT = {"format": "webp", "quality": 75}
WIDTH, HEIGHT, DIALOG_WIDTH = 1280, 800, 800

OWNER, ACCOUNTANT, GROUP, PASSWORD = "owner", "accountant", "Back office", "correct horse battery"
PERMISSIONS = ["Can change payout", "Can settle payouts by hand", "Can view payout"]

# A worker asks again after about a second, so that an unknown outcome soon has several attempts.
QUICK_WORKER = {"PAYOUT_RECOVERY_INTERVAL": "1", "CELERY_CONCURRENCY": "8"}
# A lease of an hour: the payouts of a killed worker stay Processing while the pictures are taken.
SLOW_WORKER = {
    "PAYOUT_LEASE": "3600",
    "PAYOUT_RECOVERY_INTERVAL": "3600",
    "SANDBOX_DELAY": "20",
    "CELERY_CONCURRENCY": "3",
}

# The sandbox refuses the second card, gives no answer for the third, and works on the last one for two seconds.
CARD, REFUSED, UNKNOWN = "4111111111111111", "4000000000000002", "4000000000000119"
PENDING = "4000000000000036"
# What a payout says when nobody may send it any more.
FORGOTTEN = "its key may be forgotten: whoever sends it again may pay twice"
SALARIES = ("48250.00", "61900.00", "75000.00", "88430.50", "102600.00")
PAYROLL = ("Salary for November", "Bonus for the third quarter", "Travel expenses, trade fair", "Holiday pay")
SHOP = ("Refund of order 10427", "Prize of the autumn draw", "Refund of order 10391", "Cashback for October")
FAILURES = ("The account is closed.", "The account is closed.", "The name does not fit the account.")


def card_details(number: str) -> dict[str, str]:
    return {"type": "card", "number": number, "holder": "CARD HOLDER"}


class Caller:
    """Another service of the company, with a token of its own."""

    def __init__(self, service: Service, account: str) -> None:
        self.url = service.payouts
        self.token = service.manage("create_token", "production", "--user", account, "--new-account").stdout.strip()

    def call(self, method: str, url: str, body: Any = None) -> Any:
        answer = call(method, url, body, Authorization=f"Token {self.token}")
        assert answer.status in (200, 201), answer
        return answer.json()

    def post(self, number: str, **fields: str) -> str:
        return str(self.call("POST", self.url, {"recipient_details": card_details(number), **fields})["id"])

    def patch(self, payout: str, **fields: str) -> None:
        self.call("PATCH", f"{self.url}{payout}/", fields)

    def wait_for(self, payout: str, status: str, attempts: int = 1) -> None:
        def has_status() -> bool:
            fields = self.call("GET", f"{self.url}{payout}/")
            return bool(fields["status"] == status and fields["attempt"] >= attempts)

        wait_until(has_status)


class Day:
    """A day's payouts, of every status."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.chance = random.Random(5)
        self.users = map(str, itertools.cycle(range(4101, 4160)))
        self.payroll, self.shop = Caller(service, "payroll"), Caller(service, "shop")

    def send_salary(self, number: str = CARD) -> str:
        amount, comment = self.chance.choice(SALARIES), self.chance.choice(PAYROLL)
        return self.payroll.post(number, amount=amount, currency="RUB", user_id=next(self.users), comment=comment)

    def send_refund(self, number: str = CARD) -> str:
        amount, currency = f"{self.chance.randrange(500, 40_000) / 100:.2f}", self.chance.choice(["EUR", "EUR", "USD"])
        comment = self.chance.choice(SHOP)
        return self.shop.post(number, amount=amount, currency=currency, user_id=next(self.users), comment=comment)

    def begin(self) -> None:
        """Settles and cancels some payouts before the worker starts, because a worker would take them."""
        for reason in FAILURES:
            self.payroll.patch(self.send_salary(), status="FAILED", failure_reason=reason)
        for _ in range(3):
            self.shop.patch(self.send_refund(), status="CANCELLED")
        self.worker = self.service.start_worker(**QUICK_WORKER)
        for _ in range(30):
            self.send_salary()
            self.send_salary()
            self.send_refund()
        self.refused = [self.send_refund(REFUSED) for _ in range(5)]
        self.payroll.wait_for(self.send_salary(), "COMPLETED")
        self.shop.wait_for(self.refused[-1], "FAILED")

    def leave_open(self) -> None:
        """Stops the worker after four attempts at some payouts, and while the provider works on others."""
        self.forgotten = self.send_salary(UNKNOWN)
        for payout in [self.forgotten, self.send_salary(UNKNOWN), self.send_salary(UNKNOWN)]:
            self.payroll.wait_for(payout, "PROCESSING", attempts=4)
        for payout in [self.send_salary(PENDING), self.send_salary(PENDING)]:
            self.payroll.wait_for(payout, "PROCESSING")
        self.service.stop(self.worker)

    def forget(self) -> None:
        """Lets one of them wait for a person. The sandbox itself remembers a key for a century."""
        with self.service.database.connect() as connection:
            connection.execute(
                "UPDATE payouts_payout SET due_at = NULL, note = %s WHERE id = %s", (FORGOTTEN, self.forgotten)
            )

    def spread(self) -> None:
        """Spreads the payouts over the 24 hours that the start page shows. They came within seconds."""
        with self.service.database.connect() as connection, connection.transaction():
            payouts = connection.execute("SELECT id, status FROM payouts_payout").fetchall()
            # Keep these moves out of the history.
            connection.execute("ALTER TABLE payouts_payout DISABLE TRIGGER USER")
            for payout, status in payouts:
                hours = 0.5 if status == "PROCESSING" else self.chance.triangular(0.1, 23.5, 6)
                if str(payout) == self.forgotten:
                    hours = 26
                move = {"by": timedelta(hours=hours), "id": payout}
                connection.execute(
                    "UPDATE payouts_payout SET created_at = created_at - %(by)s, updated_at = updated_at - %(by)s,"
                    " processed_at = processed_at - %(by)s, asked_at = asked_at - %(by)s,"
                    " pending_since = pending_since - %(by)s WHERE id = %(id)s",
                    move,
                )
                connection.execute("UPDATE payouts_payoutchange SET at = at - %(by)s WHERE payout_id = %(id)s", move)
            connection.execute("ALTER TABLE payouts_payout ENABLE TRIGGER USER")

    def leave_in_flight(self) -> None:
        """A worker takes three payouts and is killed. Four more find no worker."""
        worker = self.service.start_worker(**SLOW_WORKER)
        for payout in [self.send_salary() for _ in range(3)]:
            self.payroll.wait_for(payout, "PROCESSING")
        worker.kill()
        worker.wait()
        for _ in range(2):
            self.send_salary()
            self.send_refund()


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
        """Opens the newest payout of a list."""
        self.open(f"payouts/payout/?{query}")
        self.page.locator("tbody").get_by_role("link").first.click()

    def log_in(self, account: str) -> None:
        self.page.context.clear_cookies()
        self.open("")
        self.fill(Username=account, Password=PASSWORD)
        self.page.get_by_role("button", name="Log in").click()

    def fill(self, **fields: str) -> None:
        for label, value in fields.items():
            self.field(label.replace("_", " ")).fill(value)

    def field(self, label: str) -> Locator:
        # The label of a required field ends with a star.
        return self.page.get_by_label(label, exact=True).or_(self.page.get_by_label(f"{label}*", exact=True))

    def save(self) -> None:
        self.page.get_by_role("button", name="Save", exact=True).click()
        expect(self.page.get_by_text("successfully")).to_be_visible()

    def take(self, name: str, height: int = 0, width: int = WIDTH) -> None:
        """Takes a picture of this height, or as high as the page."""
        self.page.wait_for_load_state("networkidle")
        self.page.set_viewport_size({"width": width, "height": height or HEIGHT})
        if not height:
            page_height = self.page.evaluate("document.documentElement.scrollHeight")
            self.page.set_viewport_size({"width": width, "height": page_height})
        self.page.evaluate("document.activeElement?.blur()")
        self.page.mouse.move(0, 0)
        # Charts, dialogs and messages fade in.
        self.page.wait_for_timeout(1000)
        picture = base64.b64decode(self.camera.send("Page.captureScreenshot", FORMAT)["data"])
        (FOLDER / f"{name}.webp").write_bytes(picture)
        print(f"{len(picture):7,}  {name}.webp", flush=True)

    def choose(self, *labels: str) -> None:
        """Moves these options from the first list of the page to its second list."""
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
    """Makes a group with permissions, an account in it, and a token, as an owner does on the first day."""
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
    # A page as narrow as this folds its menu, so nobody can click the link.
    tokens = office.page.locator("a", has_text="Tokens").first.get_attribute("href")
    office.page.goto(f"{urljoin(office.base, tokens)}add/")
    office.page.get_by_label("Account").select_option("payroll")
    office.fill(Name="from December")
    office.save()
    office.take("token", 420)


def correct(office: BackOffice, payout: str) -> None:
    """Sends a payout back with another card. A worker pays it then."""
    office.open(f"payouts/payout/{payout}/change/")
    details = json.dumps(card_details(CARD))
    office.open_dialog("Send back to NEW", Recipient_details=details, Reason="The customer has sent another card.")
    office.take("send-back", 600, DIALOG_WIDTH)
    office.confirm("Send back to NEW")


def look_around(office: BackOffice, corrected: str) -> None:
    """Takes the pictures of an accountant's pages. Confirms no dialog, so that each picture shows the same payouts."""
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
    office.open_first("stuck=waits")
    office.take("waits", 640)
    office.open_first("status__exact=NEW")
    office.open_dialog("Cancel the payout", Reason="Order 10391 was refunded in cash.")
    office.take("cancel", 360, DIALOG_WIDTH)
    office.open_first("status__exact=NEW")
    office.open_dialog("Settle by hand", Reason="Paid from the bank's own pages, receipt 4471.")
    office.fill(Gateway_reference="receipt 4471")
    office.page.get_by_label("Completed").check()
    office.take("settle", 600, DIALOG_WIDTH)


@contextmanager
def deployed_api() -> Iterator[Service]:
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
def browser_page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser.new_page(locale="en-GB")
        browser.close()


def main() -> None:
    if BROWSER is None:
        sys.exit("There is no Chromium on the PATH.")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    with servers, deployed_api() as service, browser_page() as page:
        staff = {"DJANGO_SUPERUSER_PASSWORD": PASSWORD, "DJANGO_SUPERUSER_EMAIL": "owner@example.com"}
        service.manage("createsuperuser", "--noinput", "--username", OWNER, **staff)
        day = Day(service)
        day.begin()
        # Chromium sends a cookie for HTTPS to localhost, too.
        office = BackOffice(page, service.base.replace("127.0.0.1", "localhost"))
        set_up(office)
        office.log_in(ACCOUNTANT)
        correct(office, day.refused[0])
        day.shop.wait_for(day.refused[0], "COMPLETED")
        day.leave_open()
        day.forget()
        day.spread()
        day.leave_in_flight()
        look_around(office, day.refused[0])


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    main()
