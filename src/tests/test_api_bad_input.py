"""Bad requests to the API: each gets a 4xx in JSON that names what is wrong, and nothing is written."""

import json
from typing import Any

import pytest

from payouts.models import Payout
from tests.make import REQUEST, URL, make_payout, nest, row, short_id, url_of

pytestmark = pytest.mark.django_db

AMOUNTS = [
    *("0", "0.00", "0.001", "0.009", "-0.00", "-0.01", "-1", 0, -1, 0.001, -0.0, 0.1 + 0.2),
    *("10000000000", "10000000000.00", "9999999999.999", "1.001", 10**10, 1e10, 1e16, 1e300, 10**100, "9" * 1001),
    *("", " ", "abc", "1,5", "1 000", " 10 ", "10 ", "\t1", "1\n", "1.", ".5", "+1", "--1", "1..2", "1.2.3"),
    *("1_000", "1e2", "1E+2", "0x10", "0b1", "1/2", "½", "²", "١٠", "１０", "१०", "𝟏𝟎", "1\u066b5", "٫5"),
    *("NaN", "nan", "sNaN", "Infinity", "-Infinity", "inf", "1e", "null", "true", "\x00", "1\x00", "\ud800", "💸"),
    *(None, True, False, [], ["1"], {}, {"amount": "1"}, [1]),
]
CURRENCIES = [
    *("", " ", "rub", "Rub", "RUB ", " RUB", "RU", "RUBB", "GBP", "USDT", "₽", "руб", "RUВ", "R\x00B", "\ud800"),
    *(None, True, 0, 643, 1.5, [], ["RUB"], {}, {"RUB": 1}, "RUB\n", "RUB,USD", "А" * 10_000),
]
COMMENTS: list[Any] = [
    *("a" * 1001, "я" * 1001, "中" * 1001, "💸" * 1001, "\U0010ffff" * 1001, "\n" + "a" * 1000 + "b"),
    *("a\x00b", "\x00", "\ud800", "ok \udfff", "\ude00\ud83d", None, True, 1, 1.5, [], {}, ["a"]),
]
USERS = [
    *("", " ", "a", "1.5", 1.5, "1_0", "１", "١", "1e3", 1e30, 2**63, -(2**63) - 1, str(2**63), 10**30, "9" * 1001),
    *(0.0, True, False, [], {}, [1], "null", "\x00", "\ud800", "0x1", "--1", " 1"),
]


DETAILS = [
    *(None, True, 1, 1.5, "", "{}", "text", [], [1], [{"a": 1}], {}),
    *({"a": "\x00"}, {"\x00": 1}, {"a": {"b": ["\x00"]}}, {"a": "\ud800"}, {"\udfff": 1}, {"a": [{"b": "\udc00"}]}),
    *(nest(33), nest(400), {"a": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}),
    *(
        {"a": "x" * (16_384 - len('{"a": ""}') + 1)},
        {"a": "я" * 8_190},
        {"a": [0] * 6_000},
        {"a": [1e300] * 60},
        {"a": 1e308, "b": "x" * 16_100},
    ),
    *({"a": float("1e400")}, {"a": [float("-1e400")]}),
]
FIELDS = [
    *(("amount", value) for value in AMOUNTS),
    *(("currency", value) for value in CURRENCIES),
    *(("comment", value) for value in COMMENTS),
    *(("user_id", value) for value in USERS),
    *(("recipient_details", value) for value in DETAILS),
]


def body_with(field, value):
    # Python writes an infinite number as Infinity, which is not JSON. 1e400 is JSON for it.
    return json.dumps({**REQUEST, field: value}).replace("Infinity", "1e400")


def names_in(answer):
    """The names for which the answer has a message."""
    return {name for name, messages in answer.json().items() if messages and all(messages)}


@pytest.mark.parametrize(("field", "value"), FIELDS, ids=short_id)
def test_a_bad_field_of_a_new_payout_is_named(api, field, value):
    answer = api.post(URL, body_with(field, value), content_type="application/json")
    assert answer.status_code == 400, answer.content
    assert names_in(answer) == {field}
    assert not Payout.objects.exists()


@pytest.mark.parametrize(("field", "value"), FIELDS[::5], ids=short_id)
@pytest.mark.parametrize("method", ["put", "patch"])
def test_a_bad_field_of_a_changed_payout_is_named(api, method, field, value):
    payout = make_payout()
    answer = getattr(api, method)(url_of(payout), body_with(field, value), content_type="application/json")
    assert answer.status_code == 400, answer.content
    assert names_in(answer) == {field}
    assert Payout.objects.get(pk=payout.pk).updated_at == payout.updated_at


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("status", value) for value in ("", "new", "PAID", "NEW\x00", None, 1, [], {}, ["NEW"], "\ud800")),
        *(("failure_reason", value) for value in ("x" * 1001, "\x00", "\ud800", None, [], {})),
        *(("gateway_reference", value) for value in ("x" * 256, "\x00", "\ud800", None, [], {})),
    ],
    ids=short_id,
)
def test_a_bad_outcome_is_named(api, field, value):
    answer = api.patch(url_of(make_payout()), json.dumps({field: value}), content_type="application/json")
    assert answer.status_code == 400
    assert names_in(answer) == {field}


@pytest.mark.parametrize("missing", REQUEST)
@pytest.mark.parametrize("method", ["post", "put"])
def test_a_missing_field_is_named(api, method, missing):
    url = URL if method == "post" else url_of(make_payout())
    answer = getattr(api, method)(url, {name: value for name, value in REQUEST.items() if name != missing})
    assert (answer.status_code, names_in(answer)) == (400, {missing})


VALID = json.dumps(REQUEST)


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ("", set(REQUEST)),
        ("{}", set(REQUEST)),
        ("null", {"non_field_errors"}),
        ("true", {"non_field_errors"}),
        ("0", {"non_field_errors"}),
        ('"text"', {"non_field_errors"}),
        ("[]", {"non_field_errors"}),
        (f"[{VALID}]", {"non_field_errors"}),
        ("{", {"detail"}),
        (VALID[:-1], {"detail"}),
        (VALID + VALID, {"detail"}),
        (VALID + "x", {"detail"}),
        ("{'amount': 1}", {"detail"}),
        ("amount=1&currency=RUB", {"detail"}),
        ("\ufeff" + VALID, {"detail"}),
        ("<payout/>", {"detail"}),
        (VALID.replace('"100.50"', "10.009999999999999999"), {"detail"}),
        (VALID.replace('"100.50"', '1, "user_id": 9007199254740993.0'), {"detail"}),
        *(
            (VALID.replace('{"number": "4111111111111111"}', f'{{"account": {number}}}'), {"detail"})
            for number in ("40817810099910004312.00", "36028797018963968.0", "3.6028797018963968E16")
        ),
        (VALID.replace('{"number": "4111111111111111"}', '{"a": [1e-400]}'), {"detail"}),
        (VALID.replace('{"number": "4111111111111111"}', '{"a": 1e-99999999999999999999}'), {"detail"}),
        (VALID.replace('"100.50"', "NaN"), {"detail"}),
        (VALID.replace('"100.50"', "Infinity"), {"detail"}),
        (VALID.replace('"100.50"', "-Infinity"), {"detail"}),
        (VALID.replace('"100.50"', "01"), {"detail"}),
        (VALID.replace('"100.50"', "1.e5"), {"detail"}),
        (VALID.replace('"100.50"', "9" * 5000), {"detail"}),
        (VALID.replace("RUB", "R\x01B"), {"detail"}),
        ("[" * 1500 + "]" * 1500, {"non_field_errors", "detail"}),
        # Python 3.13 refuses these two as too deep. Python 3.14 reads them, so the answer names something else.
        ("[" * 30_000 + "]" * 30_000, {"non_field_errors", "detail"}),
        ('{"a":' * 10_000 + "1" + "}" * 10_000, {"amount", "currency", "recipient_details", "detail"}),
        ('{"amount": "1", ' + VALID[1:], {"detail"}),
        ('{"recipient_details": {"a": 1, "a": 2}}', {"detail"}),
        ('{"\\ud800": 1, "\\ud800": 2}', {"detail"}),
        (VALID.encode("utf-16"), {"detail"}),
        (VALID.encode().replace(b"RUB", b"\xff\xfe\xfd"), {"detail"}),
        (VALID.encode().replace(b"RUB", b"\xed\xa0\x80"), {"detail"}),
        (VALID.encode().replace(b"RUB", b"\xc0\x80"), {"detail"}),
        (b"\x00" * 100, {"detail"}),
        (b"\x1f\x8b\x08\x00" + b"\x00" * 20, {"detail"}),
    ],
    ids=short_id,
)
def test_a_bad_body_is_refused(api, body, names):
    answer = api.post(URL, body, content_type="application/json")
    assert answer.status_code == 400
    assert names_in(answer)
    assert names_in(answer) <= names
    assert not Payout.objects.exists()


def test_a_key_that_comes_twice_is_named(api):
    answer = api.post(
        URL, "{" + ",".join(f'"{n}":1,"{n}":1' for n in range(2800)) + "}", content_type="application/json"
    )
    assert answer.json() == {"detail": "This key is given twice: 0"}


@pytest.mark.parametrize("method", ["post", "put", "patch"])
@pytest.mark.parametrize("size", [64 * 1024 + 1, 1_000_000])
def test_a_body_that_is_too_long_is_413(api, method, size):
    url = URL if method == "post" else url_of(make_payout())
    answer = getattr(api, method)(url, VALID + " " * (size - len(VALID)), content_type="application/json")
    assert (answer.status_code, names_in(answer)) == (413, {"detail"})


def test_a_body_of_64_kib_is_accepted(api):
    answer = api.post(URL, VALID + " " * (64 * 1024 - len(VALID)), content_type="application/json")
    assert answer.status_code == 201


@pytest.mark.parametrize(
    "content_type",
    [
        *("text/plain", "text/html", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data"),
        *("application/octet-stream", "application/jsonp", "application/x-yaml", "nonsense", "/", ";", "\xff"),
        *("multipart/form-data; boundary=x", "multipart/form-data; boundary=" + "x" * 300, "image/png; a=b; c"),
    ],
)
@pytest.mark.parametrize("method", ["post", "put", "patch"])
def test_another_content_type_is_415(api, method, content_type):
    url = URL if method == "post" else url_of(make_payout())
    answer = getattr(api, method)(url, VALID, content_type=content_type)
    assert (answer.status_code, names_in(answer)) == (415, {"detail"})


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
def test_any_spelling_of_the_json_content_type_is_accepted(api, content_type):
    assert api.post(URL, VALID, content_type=content_type).status_code == 201


@pytest.mark.parametrize(
    ("query", "name"),
    [
        *(
            (f"status={value}", "status")
            for value in ("", "new", "PAID", "a%00", "%00", "NEW%20", "NEW,FAILED", "%F0%9F")
        ),
        *((f"status=NEW&status={value}", "status") for value in ("x", "", "%ED%A0%80")),
        *((f"currency={value}", "currency") for value in ("rub", "GBP", "%00", "RUB%00", "RUB,USD", "%ff")),
        *(
            (f"user_id={value}", "user_id")
            for value in ("a", "1.5", "1_0", "%EF%BC%91", "%D9%A1", "1e3", "%00", "%201")
        ),
        *((f"user_id={value}", "user_id") for value in (2**63, -(2**63) - 1, "9" * 400, "NaN", "inf", "+1", "0x1")),
        *((f"amount_min={value}", "amount_min") for value in ("a", "NaN", "sNaN", "inf", "1e2", "1e200000", "1_0")),
        *(
            (f"amount_max={value}", "amount_max")
            for value in ("1.001", "10000000000", "%D9%A1", "%00", "1,5", "9" * 99)
        ),
        *((f"created_after={value}", "created_after") for value in ("a", "2026", "2026-13-01", "2026-02-30T00:00:00Z")),
        *((f"created_after={value}", "created_after") for value in ("%00", "1e9", "0", "2026-01-01T25:00:00Z", "now")),
        *((f"created_after={value}", "created_after") for value in ("0001-01-01T00:00:00%2B14:00",)),
        *((f"created_before={value}", "created_before") for value in ("9999-12-31T23:59:59-14:00",)),
        *((f"created_before={value}", "created_before") for value in ("x", "10000-01-01T00:00:00Z", "T", "2026-W01-8")),
        *((f"created_before={value}", "created_before") for value in ("2026-01-01T00:00:00%2B99:00", "-1", "%ff")),
        *((f"search={value}", "search") for value in ("%00", "a%00b", "x" * 201)),
        *((f"ordering={value}", "ordering") for value in ("id", "status", "--amount", "amount,id", "%00", "%3F", "pk")),
        *((f"page={value}", "page") for value in ("0", "-1", "a", "1.5", "%00", "2", "999999999999999999999")),
        *(
            (f"cursor={value}", "cursor")
            for value in ("a", "%00", "cD0x", "e30:1:x", "x" * 5000, "%F0%9F", "None", ":")
        ),
    ],
)
def test_a_bad_query_is_named(api, query, name):
    answer = api.get(f"{URL}?{query}")
    assert answer.status_code == 400, answer.content
    assert names_in(answer) == {name}


@pytest.mark.parametrize(
    "query",
    [
        *("created_after=2026-01-01T00:00:00%2B23:59", "created_before=2026-01-01T00:00:00-16:00"),
        *("created_after=2026-01-01", "created_before=2026-01-01T00:00", "user_id=", "currency=", "cursor="),
        *("page_size=0", "page_size=-1", "page_size=a", "page_size=%00", "page_size=1e9", "page_size=99999999999"),
        *("search=%F0%9F", "search=%27%22%5C%3B--", "search=%26%7C%21%28%3A%2A", "search=%20", "&&=&"),
        *("page=1&cursor=x", f"user_id={2**63 - 1}", f"user_id={-(2**63)}", "amount_min=-5", "amount_max=0"),
    ],
)
def test_an_odd_query_is_accepted(api, query):
    assert api.get(f"{URL}?{query}").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "query", "names"),
    [
        ("get", "", "Status=FAILED&state=x&status=NEW", {"Status", "state"}),
        ("get", "", "unheard=%00", {"unheard"}),
        ("get", "", "format=json", {"format"}),
        ("get", "{id}/history/", "status=NEW&page=1", {"status"}),
        ("get", "{id}/", "page=1", {"page"}),
        ("post", "", "status=NEW", {"status"}),
        ("patch", "{id}/", "comment=x", {"comment"}),
        ("put", "{id}/", "comment=x", {"comment"}),
        ("delete", "{id}/", "force=1", {"force"}),
    ],
)
def test_a_parameter_that_there_is_not_is_refused_by_name(api, method, path, query, names):
    payout = make_payout()
    before = row(payout)
    answer = getattr(api, method)(f"{URL}{path.format(id=payout.pk)}?{query}", REQUEST if method != "get" else None)
    assert (answer.status_code, answer.json()) == (400, {name: ["There is no such parameter."] for name in names})
    assert (row(payout), Payout.objects.count()) == (before, 1)


def test_a_method_that_is_not_allowed_is_said_whatever_the_query(api):
    assert api.delete(f"{URL}?status=NEW").status_code == 405


@pytest.mark.parametrize("method", ["post", "put", "patch"])
def test_a_field_that_there_is_not_is_refused_beside_what_else_is_wrong(api, method):
    payout = make_payout()
    before = row(payout)
    url = URL if method == "post" else f"{URL}{payout.pk}/"
    answer = getattr(api, method)(url, {**REQUEST, "state": "CANCELLED", "Comment": "x", "amount": "0"})
    missing = ["There is no such field."]
    amount = ["Ensure this value is greater than or equal to 0.01."]
    assert (answer.status_code, answer.json()) == (400, {"Comment": missing, "state": missing, "amount": amount})
    assert (row(payout), Payout.objects.count()) == (before, 1)


@pytest.mark.parametrize(
    "identifier",
    [
        *("1", "0", "-1", "abc", "null", "None", "%00", "%20", "%ff", "..%2f", "x" * 3000, "💸", "1e3", "'", '"', "{}"),
        *(
            "01a1fcaf-a016-7176-b7af-bb375d1fea0",
            "01a1fcaf-a016-7176-b7af-bb375d1fea012",
            "01a1fcafa0167176b7afbb375d1fea01",
        ),
        *("01A1FCAF-A016-7176-B7AF-BB375D1FEA01", "{01a1fcaf-a016-7176-b7af-bb375d1fea01}", "history", "payouts"),
        *("01a1fcaf-a016-7176-b7af-bb375d1fea01", "00000000-0000-0000-0000-000000000000"),
    ],
)
@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_an_unknown_payout_is_404(api, method, identifier):
    body = VALID if method in ("put", "patch") else None
    answer = getattr(api, method)(f"{URL}{identifier}/", body, content_type="application/json")
    assert (answer.status_code, names_in(answer)) == (404, {"detail"})


@pytest.mark.parametrize(
    "path", ["/api/", "/api/v1/", "/api/v1/payout/", "/api/v2/payouts/", "/api/v1/payouts", "/api/%00"]
)
@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete", "head", "options"])
def test_an_unknown_path_is_404_in_json(api, method, path, settings):
    for settings.DEBUG in (False, True):
        answer = getattr(api, method)(path)
        assert (answer.status_code, answer["Content-Type"]) == (404, "application/json")


def test_the_log_names_a_host_that_is_not_allowed(api, caplog):
    assert api.get(URL, HTTP_HOST="payouts.example.com").status_code == 400
    [warning] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "'payouts.example.com' to ALLOWED_HOSTS" in warning.getMessage()


@pytest.mark.parametrize(("method", "status_code"), [("put", 405), ("patch", 405), ("delete", 405), ("options", 200)])
def test_the_list_refuses_unknown_methods(api, method, status_code):
    assert getattr(api, method)(URL).status_code == status_code


def test_a_post_to_a_payout_is_405(api):
    answer = api.post(url_of(make_payout()), REQUEST)
    assert (answer.status_code, names_in(answer)) == (405, {"detail"})


@pytest.mark.parametrize(
    ("accept", "status_code"),
    [
        *(("*/*", 200), ("text/html, application/json;q=0.1", 200)),
        *(("text/html", 406), ("application/xml", 406), ("", 406), ("x", 406)),
    ],
)
def test_an_answer_is_json_or_406(api, accept, status_code):
    answer = api.get(URL, HTTP_ACCEPT=accept)
    assert (answer.status_code, answer["Content-Type"]) == (status_code, "application/json")


def test_a_host_that_is_not_allowed_is_400_in_json(api):
    answer = api.get(URL, HTTP_HOST="elsewhere.example")
    assert (answer.status_code, names_in(answer)) == (400, {"detail"})
