"""GET of the list of payouts: pages, cursors, filters and search."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db.models.functions import Now

from payouts.machine import Status
from payouts.models import Payout
from tests.make import REQUEST, URL, make_payout, multiply

pytestmark = pytest.mark.django_db

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def make_many(count, **fields):
    return Payout.objects.bulk_create(Payout(**{**REQUEST, "due_at": Now(), **fields}) for _ in range(count))


def listed_ids(api, query):
    return [item["id"] for item in api.get(f"{URL}?{query}").json()["results"]]


def walk(api, url, link="next"):
    while url:
        page = api.get(url).json()
        yield page["results"]
        url = page[link]


def test_the_list_begins_with_the_newest(api):
    payouts = [make_payout(created_at=NEW_YEAR + timedelta(hours=n)) for n in (1, 3, 2)]
    assert listed_ids(api, "") == [str(payouts[n].pk) for n in (1, 2, 0)]


def test_an_empty_list_has_no_next_page(api):
    assert api.get(URL).json() == {"next": None, "previous": None, "results": []}


@pytest.mark.parametrize("ordering", ["amount", "-amount", "created_at", "-created_at"])
def test_a_walk_over_1500_equal_payouts_shows_each_once(api, ordering):
    multiply(make_payout(created_at=NEW_YEAR), 1499)
    ids = [item["id"] for page in walk(api, f"{URL}?ordering={ordering}&page_size=100") for item in page]
    assert len(ids) == len(set(ids)) == 1500


@pytest.mark.parametrize("ordering", ["amount", "-amount", "created_at", "-created_at"])
def test_a_walk_forth_and_back_shows_the_same_pages(api, ordering):
    for n in range(25):
        make_payout(amount=f"{n % 4 + 1}", created_at=NEW_YEAR + timedelta(minutes=n % 7))
    forth = list(walk(api, f"{URL}?ordering={ordering}&page_size=4"))
    *_, last = walk_urls(api, f"{URL}?ordering={ordering}&page_size=4")
    assert list(walk(api, last, "previous"))[::-1] == forth


def walk_urls(api, url):
    while url:
        yield url
        url = api.get(url).json()["next"]


def test_the_last_page_has_no_next_one(api):
    make_many(4)
    assert [len(page) for page in walk(api, f"{URL}?page_size=2")] == [2, 2]


def test_a_walk_shows_each_payout_once_while_others_come_and_go(api):
    initial = [str(payout.pk) for payout in make_many(30)]
    walk_ids = []
    for page in walk(api, f"{URL}?page_size=5&ordering=created_at"):
        walk_ids += [item["id"] for item in page]
        make_many(1)
        Payout.objects.filter(pk=page[0]["id"]).delete()
        if len(walk_ids) > 40:
            break
    assert walk_ids[:30] == sorted(initial)
    assert len(set(walk_ids)) == len(walk_ids)


@pytest.mark.parametrize("link", ["next", "previous"])
def test_a_page_whose_payouts_are_gone_is_empty(api, link):
    make_many(6)
    second = api.get(api.get(f"{URL}?page_size=2").json()["next"]).json()
    Payout.objects.exclude(pk__in=[item["id"] for item in second["results"]]).delete()
    assert api.get(second[link]).json()["results"] == []


def test_a_cursor_keeps_the_filters(api):
    make_many(3, currency="EUR")
    make_many(3, currency="USD")
    pages = walk(api, f"{URL}?currency=EUR&page_size=2")
    assert [item["currency"] for page in pages for item in page] == ["EUR"] * 3


def test_a_cursor_of_another_order_is_refused(api):
    make_many(3)
    cursor = api.get(f"{URL}?page_size=1").json()["next"].split("cursor=")[1].split("&")[0]
    answer = api.get(f"{URL}?ordering=amount&cursor={cursor}")
    assert (answer.status_code, answer.json().keys()) == (400, {"cursor"})


@pytest.mark.parametrize(
    ("page_size", "length"), [("", 50), ("1", 1), ("100", 100), ("101", 100), ("99999", 100), ("0", 50), ("x", 50)]
)
@pytest.mark.parametrize("page", ["", "&page=1"])
def test_an_unusable_page_size_is_corrected(api, page_size, length, page):
    make_many(101)
    assert len(listed_ids(api, f"page_size={page_size}{page}")) == length


def test_numbered_pages_have_a_count(api):
    payouts = make_many(5)
    answer = api.get(f"{URL}?page=2&page_size=2").json()
    assert answer["count"] == 5
    assert [item["id"] for item in answer["results"]] == [str(payouts[n].pk) for n in (2, 1)]
    assert ("page=3" in answer["next"], "page_size=2" in answer["previous"]) == (True, True)


def test_the_count_stops_at_10000(api):
    multiply(make_payout(), 10_049)
    assert api.get(f"{URL}?page=100&page_size=100").json()["count"] == 10_000
    assert api.get(f"{URL}?page=101&page_size=100").status_code == 400


@pytest.mark.parametrize(("query", "queries"), [("", 1), ("page=1", 2), ("search=x&status=NEW&ordering=amount", 1)])
def test_a_page_costs_one_query_and_its_count_another(api, django_assert_num_queries, query, queries):
    make_many(3)
    with django_assert_num_queries(queries):
        api.get(f"{URL}?{query}")


def test_the_list_can_be_filtered_by_several_statuses(api):
    ids = {status: str(make_payout(status).pk) for status in Status}
    assert set(listed_ids(api, "status=NEW&status=FAILED")) == {ids["NEW"], ids["FAILED"]}


def test_the_list_can_be_filtered_by_currency_and_user(api):
    payout = make_payout(user_id=7, currency="EUR")
    make_payout(user_id=7)
    make_payout(currency="EUR")
    assert listed_ids(api, "user_id=7&currency=EUR") == [str(payout.pk)]


def test_the_list_can_be_filtered_by_amount_inclusively(api):
    payouts = [make_payout(amount=amount) for amount in ("1.00", "1.01", "1.02", "1.03")]
    assert set(listed_ids(api, "amount_min=1.01&amount_max=1.02")) == {str(payout.pk) for payout in payouts[1:3]}


def test_the_list_can_be_filtered_by_creation_from_and_before(api):
    payouts = [make_payout(created_at=NEW_YEAR + timedelta(seconds=n)) for n in range(4)]
    query = "created_after=2026-01-01T00:00:01Z&created_before=2026-01-01T03:00:03%2B03:00"
    assert listed_ids(api, query) == [str(payout.pk) for payout in payouts[2:0:-1]]


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("created_after=0001-01-01T00:00:00%2B00:00", 1),
        ("created_before=0001-01-01T00:00:00%2B00:00", 0),
        ("created_after=9999-12-31T23:59:59Z", 0),
        ("created_before=9999-12-31T23:59:59Z", 1),
    ],
)
def test_the_list_can_be_filtered_by_the_first_and_the_last_time(api, query, number):
    make_payout()
    assert len(listed_ids(api, query)) == number


def test_the_api_uses_utc_in_any_time_zone(api, settings):
    settings.TIME_ZONE = "Asia/Tokyo"
    make_payout(created_at=NEW_YEAR)
    [payout] = api.get(f"{URL}?created_after=2026-01-01T00:00:00&created_before=2026-01-01T00:00:01").json()["results"]
    assert payout["created_at"] == "2026-01-01T00:00:00Z"
    [change] = api.get(f"{URL}{payout['id']}/history/").json()["results"]
    assert change["at"].endswith("Z")


@pytest.mark.parametrize(
    "words", ["ноябрь", "НОЯБРЬ", "зарплата ноябрь", "2026", "%D0%BD%D0%BE%D1%8F%D0%B1%D1%80%D1%8C"]
)
def test_a_search_finds_words_of_the_comment(api, words):
    payout = make_payout(comment="Зарплата за ноябрь 2026")
    make_payout(comment="Премия за декабрь")
    assert listed_ids(api, f"search={words}") == [str(payout.pk)]


@pytest.mark.parametrize("words", ["янв", "ноябрь декабрь", "зарплатаза"])
def test_a_search_finds_only_comments_with_all_the_words(api, words):
    make_payout(comment="Зарплата за ноябрь 2026")
    assert listed_ids(api, f"search={words}") == []
