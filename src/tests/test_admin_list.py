"""The back office's list of payouts: columns, filters, search, and what it costs."""

import re
from datetime import timedelta
from decimal import Decimal

import psycopg
import pytest
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from payouts.machine import Status
from payouts.models import Currency
from tests.back_office import (
    CARD,
    IN_DOUBT,
    LIST,
    PENDING,
    UNSENT,
    WAITING,
    ids_in_list,
    make_payout_with_card_numbers,
    page_url,
    read_export,
    staff,
)
from tests.make import make_payout, make_processing, multiply

pytestmark = pytest.mark.django_db

NOON = timezone.localtime().replace(hour=12)
TODAY = NOON.date()


@pytest.mark.parametrize(
    "query",
    [
        "stuck=doubt",
        "status__exact=PROCESSING&status__exact=COMPLETED",
        "currency__exact=EUR",
        "amount_from=7&amount_to=7.00",
        "q=7",
        "q=November",
        "q={pk}",
        f"created_at_from={TODAY - timedelta(days=9)}&created_at_to={TODAY - timedelta(days=9)}",
    ],
)
def test_filters_narrow_the_list_and_its_export(superuser, query):
    old = NOON - timedelta(days=9)
    fields = {"currency": Currency.EUR, "amount": 7, "user_id": 7, "comment": "November", "created_at": old}
    payout = make_payout(Status.PROCESSING, **fields, **IN_DOUBT)
    make_payout(user_id=8, comment="7 prizes")
    query = query.format(pk=payout.pk)
    assert ids_in_list(superuser, query) == {str(payout.pk)}
    assert [line["id"] for line in read_export(superuser, query)] == [str(payout.pk)]


@pytest.mark.parametrize(
    ("language", "day", "number"), [("ru", "%d.%m.%Y", 1), ("ru", "%Y-%m-%d", 1), ("en", "%Y-%m-%d", 1)]
)
def test_the_filter_reads_days_as_the_calendar_writes_them(superuser, language, day, number):
    make_payout(created_at=NOON)
    make_payout(created_at=NOON - timedelta(days=9))
    superuser.cookies["django_language"] = language
    query = f"created_at_from={TODAY.strftime(day)}"
    assert len(ids_in_list(superuser, query)) == len(read_export(superuser, query)) == number


def test_the_list_shows_the_main_fields(superuser):
    payout = make_payout(comment=f"{CARD} {'x' * 100}")
    page = superuser.get(LIST).content.decode()
    for text in (str(payout.pk), f"{payout.created_at:%Y-%m-%d %H:%M:%S}", f"**** 1111 {'x' * 50}<", "100.50", "New"):
        assert text in page


def test_pages_group_the_digits_of_an_amount(superuser):
    make_payout(amount=Decimal("1234567.5"))
    for language, amount in (("en", "1,234,567.50"), ("ru", "1\u00a0234\u00a0567,50")):
        superuser.cookies["django_language"] = language
        for path in (LIST, "/admin/"):
            assert f"{amount}\u00a0RUB" in superuser.get(path).content.decode()


def test_the_list_names_each_status_in_words(superuser):
    for status in Status:
        make_payout(status)
    make_payout(deleted_at=Now())
    label = r"<span[^>]*font-semibold[^>]*uppercase[^>]*>\s*(.*?)\s*</span>"
    cells = re.findall(label, superuser.get(LIST).content.decode())
    assert sorted(cells) == sorted(["Deleted", *Status.labels])


@pytest.mark.parametrize(
    ("status", "fields", "name"),
    [
        (Status.PROCESSING, {}, ("Processing", "В обработке")),
        (Status.PROCESSING, IN_DOUBT, ("Outcome unknown", "Исход неизвестен")),
        (Status.PROCESSING, PENDING, ("With the provider", "В работе у платёжного шлюза")),
        (Status.PROCESSING, WAITING, ("Waits for a person", "Ждёт решения человека")),
        (Status.PROCESSING, UNSENT, ("Not sent yet", "Ещё не отправлена")),
        (Status.FAILED, {"failure_reason": "Returned: Closed."}, ("Returned", "Деньги возвращены")),
        (Status.NEW, {"deleted_at": Now()}, ("Deleted", "Удалена")),
    ],
)
def test_the_page_and_the_list_name_a_state_alike_in_both_languages(superuser, status, fields, name):
    payout = make_payout(status, **fields)
    for language, text in zip(("en", "ru"), name, strict=True):
        for path in (LIST, page_url(payout)):
            page = superuser.get(path, headers={"Accept-Language": language}).content.decode()
            assert re.search(rf">\s*{text}\s*<", page), (language, path)


def test_no_status_filter_finds_a_deleted_payout(superuser):
    payout = make_payout(deleted_at=timezone.now())
    assert ids_in_list(superuser, "status__exact=NEW") == set()
    assert ids_in_list(superuser, "") == {str(payout.pk)}
    [line] = read_export(superuser)
    assert line["deleted_at"] == f"{timezone.localtime(payout.deleted_at):%Y-%m-%d %H:%M:%S}"


def test_a_filter_finds_payouts_in_doubt(superuser):
    unknown, abandoned = make_payout(Status.PROCESSING, **IN_DOUBT), make_processing(lease_is_over=True)
    make_processing(lease_is_over=False)
    assert ids_in_list(superuser, "stuck=doubt") == {str(unknown.pk), str(abandoned.pk)}


@pytest.mark.parametrize(("query", "found"), [("pending", 0), ("waits", 1), ("doubt", 2)])
def test_a_filter_finds_the_payouts_of_a_stage(superuser, query, found):
    payouts = [make_payout(Status.PROCESSING, **stage) for stage in (PENDING, WAITING, IN_DOUBT)]
    make_processing(lease_is_over=False)
    make_payout(Status.COMPLETED, note="HTTP 504")
    assert ids_in_list(superuser, f"stuck={query}") == {str(payouts[found].pk)}


def test_a_filter_finds_payouts_that_wait_too_long(superuser):
    late = make_payout(due_at=Now() - timedelta(minutes=2))
    make_payout()
    make_payout(created_at=Now() - timedelta(minutes=2), deleted_at=Now())
    assert ids_in_list(superuser, "stuck=late") == {str(late.pk)}


@pytest.mark.parametrize("query", ["nonsense=1", "amount_from=x", "amount_from=NaN", "q=%00", "q=" + "9" * 40, "p=999"])
def test_a_nonsensical_query_gets_a_page(superuser, query):
    make_payout()
    assert superuser.get(f"{LIST}?{query}", follow=True).status_code == 200
    assert superuser.get(f"{LIST}export/?{query}", follow=True).status_code == 200


@pytest.mark.parametrize(
    "lookup", ["recipient_details__a__icontains", "comment__startswith", "fingerprint__startswith"]
)
def test_no_lookup_finds_a_card_number_digit_by_digit(lookup):
    make_payout_with_card_numbers()
    assert staff("view_payout").get(f"{LIST}?{lookup}=4").status_code == 400


@pytest.mark.parametrize(
    "separator", [" ", "\u00a0", "\u2007", "\u200b", "\u202f", "\u3000", " - ", "\u2013", "+", "%20"]
)
def test_no_search_finds_a_card_number_by_its_groups(separator):
    with_card = make_payout(comment=f"room 2222, {separator.join(('4111', '2222', '3333', '4444'))}")
    without_card = make_payout(comment="room 2222")
    assert ids_in_list(staff("view_payout"), "q=2222") == {str(without_card.pk)}
    olga = staff("view_payout", "view_card_numbers", username="olga")
    assert ids_in_list(olga, "q=2222") == {str(with_card.pk), str(without_card.pk)}


@pytest.mark.parametrize("path", ["/admin/", LIST, f"{LIST}?q=7", f"{LIST}export/", "page"])
def test_the_number_of_queries_does_not_grow_with_the_number_of_payouts(superuser, django_assert_max_num_queries, path):
    for number in range(15):
        payout = make_payout(user_id=7, comment=str(number))
    with django_assert_max_num_queries(12):
        superuser.get(page_url(payout) if path == "page" else path).getvalue()


@pytest.mark.parametrize("query", ["", "q=7", "_facets=True", "status__exact=NEW"])
def test_each_query_of_the_list_has_a_limit(superuser, django_assert_max_num_queries, query):
    multiply(make_payout(user_id=7), 60)
    with django_assert_max_num_queries(12) as queries:
        page = superuser.get(f"{LIST}?{query}").content.decode()
    # The page offers no order but that of an index: by creation or by id.
    assert not re.search(r"\bo=[\d.-]*[2-4]", page)
    statements = [query["sql"] for query in queries.captured_queries if "payouts_payout" in query["sql"]]
    assert len(statements) > 1
    for statement in statements:
        assert "LIMIT" in statement


def forget_connections():
    connection.close()
    connection.close_pool()


@pytest.fixture
def locked_table(monkeypatch):
    """Locks the table of payouts, and lets PostgreSQL end each statement soon."""
    with psycopg.connect(**connection.get_connection_params(), autocommit=False) as other:
        other.execute("LOCK TABLE payouts_payout")
        monkeypatch.setitem(connection.settings_dict["OPTIONS"], "options", "-c statement_timeout=100ms")
        forget_connections()
        yield
    forget_connections()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/admin/", LIST, f"{LIST}?status__exact=NEW", f"{LIST}export/"])
def test_a_page_explains_a_query_that_takes_too_long(superuser, locked_table, path):
    page = superuser.get(path, follow=True)
    assert page.status_code == 200
    assert "This takes too long." in page.content.decode()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", [LIST, f"{LIST}export/"])
@pytest.mark.parametrize(
    "query",
    [
        "created_at_to=9999-12-31",
        "created_at_from=31.02.2026",
        "created_at_to=x",
        "created_at__year=99999",
        "status__exact=%00",
        "caller__regex=(",
    ],
)
def test_a_page_explains_an_unusable_filter(superuser, path, query):
    page = superuser.get(f"{path}?{query}", follow=True)
    assert page.status_code == 200
    assert "These filters cannot be used." in page.content.decode()
