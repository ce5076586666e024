"""The history of a payout: what the trigger records, and what the API shows."""

import pytest
from django.db import connection

from payouts.models import Payout, PayoutChange
from payouts.tasks import process
from tests.make import REQUEST, URL, make_payout, url_of

pytestmark = pytest.mark.django_db


def read_history(api, payout):
    return api.get(f"{url_of(payout)}history/").json()["results"]


def execute(statement, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def test_the_history_shows_each_change(api):
    pk = api.post(URL, REQUEST, headers={"X-Request-ID": "req-1"}).json()["id"]
    payout = Payout.objects.get(pk=pk)
    api.patch(url_of(payout), {"amount": "5.00"}, headers={"X-Request-ID": "req-2"})
    process(pk)
    created, changed, claimed, finished = read_history(api, payout)
    assert (created["operation"], created["changed_by"], created["changes"]["status"]) == ("INSERT", "api req-1", "NEW")
    assert (changed["operation"], changed["changed_by"], changed["changes"]) == (
        "UPDATE",
        "api req-2",
        {"amount": "5.00"},
    )
    assert claimed["changes"].keys() == {"status", "attempt", "due_at", "gateway"}
    assert finished["changes"].keys() == {"status", "gateway_reference", "processed_at", "due_at"}
    assert finished["changed_by"].startswith("worker")


def test_the_history_does_not_contain_the_details(api):
    payout = make_payout()
    api.patch(url_of(payout), {"recipient_details": {"number": "5555444433332222"}})
    assert read_history(api, payout)[-1]["changes"] == {"recipient_details": "changed"}
    stored = str(list(PayoutChange.objects.values()))
    assert "4111111111111111" not in stored
    assert "5555444433332222" not in stored


def test_a_deleted_payout_keeps_its_history(api):
    payout = make_payout()
    api.delete(url_of(payout))
    assert [change["changes"].keys() for change in read_history(api, payout)][1] == {"deleted_at", "due_at"}


def test_the_history_records_sql_and_names_its_user(api):
    payout = make_payout(changed_by="api req-1")
    execute("UPDATE payouts_payout SET comment = 'by hand' WHERE id = %s", payout.pk)
    execute("DELETE FROM payouts_payout WHERE id = %s", payout.pk)
    updated, deleted = read_history(api, payout)[1:]
    assert (updated["operation"], updated["changes"]) == ("UPDATE", {"comment": "by hand"})
    assert (deleted["operation"], deleted["changes"]) == ("DELETE", {})
    assert {updated["changed_by"], deleted["changed_by"]} == {f"sql {connection.settings_dict['USER']}"}


def test_the_history_records_every_public_column():
    payout = make_payout()
    statement = """
        UPDATE payouts_payout
           SET user_id = 8, amount = 2, currency = 'EUR', recipient_details = '{"iban": "x"}', comment = 'x',
               status = 'FAILED', failure_reason = 'x', gateway_reference = 'x', processed_at = now(), submission = 2,
               attempt = 2, deleted_at = now(), due_at = NULL, note = 'x', caller = 'x', idempotency_key = 'x',
               external_id = 'x', failure_code = 'x', pay_at = now(), hold = 'x', gateway = 'x',
               gateway_key = gen_random_uuid(), asked_at = now(), pending_since = now()
         WHERE id = %s
    """
    execute(statement, payout.pk)
    recorded = {name for change in PayoutChange.objects.filter(operation="UPDATE") for name in change.changes}
    internal = {"id", "created_at", "updated_at", "changed_by", "taken_at", "asked_at", "fingerprint"}
    assert recorded == {field.column for field in Payout._meta.concrete_fields} - internal


def test_the_history_comes_in_pages_with_the_oldest_change_first(api):
    payout = make_payout()
    for number in range(5):
        api.patch(url_of(payout), {"comment": str(number)})
    first = api.get(f"{url_of(payout)}history/?page_size=4").json()
    second = api.get(first["next"]).json()
    comments = [change["changes"].get("comment") for change in first["results"] + second["results"]]
    assert comments == [None, "0", "1", "2", "3", "4"]
    assert second["next"] is None


@pytest.mark.parametrize("identifier", ["01a1fcaf-a016-7176-b7af-bb375d1fea01", "x"])
def test_the_history_of_an_unknown_payout_is_404(api, identifier):
    assert api.get(f"{URL}{identifier}/history/").status_code == 404


def test_the_history_costs_one_query(api, django_assert_num_queries):
    payout = make_payout()
    with django_assert_num_queries(1):
        read_history(api, payout)


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_the_history_cannot_be_written(api, method):
    assert getattr(api, method)(f"{url_of(make_payout())}history/", {}).status_code == 405


def test_a_row_that_sql_inserts_has_its_user_as_author(api):
    execute(
        "INSERT INTO payouts_payout (id, amount, currency, recipient_details, due_at)"
        " VALUES (gen_random_uuid(), 1, 'RUB', '{\"a\": 1}', now())"
    )
    payout = Payout.objects.get()
    assert payout.gateway_key
    [change] = read_history(api, payout)
    assert change["changed_by"] == f"sql {connection.settings_dict['USER']}"
