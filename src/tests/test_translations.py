"""The Russian translation, and who gets which language."""

import ast
import json
import re
from pathlib import Path

import pytest
import unfold
from django.conf import settings
from django.utils import translation

from payouts.machine import Status
from tests.make import REQUEST, URL, make_payout

MARKED = re.compile(r'(?:\b_|gettext(?:_lazy)?)\(\s*((?:"(?:[^"\\]|\\.)*"\s*)+)')
TRANSLATED = re.compile(r"""(?:\{%[- ]*trans(?:late)? |\b_\()(["'])(.+?)\1""")
BLOCK = re.compile(r"\{% *blocktrans[^%]*%\}([^{]*(?:\{\{[^{]*)*)\{% *(?:endblocktrans|plural)", re.DOTALL)
UNFOLD = Path(unfold.__file__).parent
# Unfold keeps this message of Django 6.0, which Django 6.1 no longer has.
UNUSED_MESSAGE = (
    "Raw passwords are not stored, so there is no way to see this user’s password, but you can change the password "
    "using "
)


@pytest.fixture(autouse=True)
def english():
    """Restores the language of the thread, which a request sets and keeps."""
    with translation.override("en"):
        yield


def messages(*folders, without):
    for path in (path for folder in folders for path in folder.rglob("*.*") if without not in path.parts):
        if path.suffix == ".py":
            yield from (ast.literal_eval(f"({literals})") for literals in MARKED.findall(path.read_text()))
        if path.suffix == ".html":
            yield from (text for _quote, text in TRANSLATED.findall(path.read_text()))
            yield from (re.sub(r"\{\{ (\w+) \}\}", r"%(\1)s", text) for text in BLOCK.findall(path.read_text()))


@pytest.mark.parametrize(
    "texts",
    [
        messages(*(settings.SRC / room for room in ("config", "runtime", "callers", "payouts")), without="tests"),
        # Unfold has no Russian translation.
        [*messages(UNFOLD, without="contrib"), *messages(UNFOLD / "contrib/filters", without="crispy")],
    ],
    ids=["payouts", "unfold"],
)
def test_every_message_has_a_translation(texts):
    texts = {*texts} - {UNUSED_MESSAGE}
    assert len(texts) > 30
    with translation.override("ru"):
        assert {message for message in texts if translation.gettext(message) == message} == set()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("language", "code", "text"),
    [
        ("ru-RU,ru;q=0.9", "en", "Должен быть непустой объект JSON."),
        ("en", "ru", "Must be a JSON object that is not empty."),
        ("de", "ru", "Должен быть непустой объект JSON."),
        ("de", "en", "Must be a JSON object that is not empty."),
    ],
)
def test_the_service_answers_in_the_language_of_the_browser_or_of_the_setting(api, settings, language, code, text):
    settings.LANGUAGE_CODE = code
    headers = {"Accept-Language": language}
    answer = api.post(URL, {**REQUEST, "recipient_details": {}}, headers=headers)
    assert answer.json() == {"recipient_details": [text]}
    assert "Accept-Language" in answer["Vary"]
    assert not answer.cookies


@pytest.mark.django_db
@pytest.mark.parametrize(
    "fields",
    [
        {"comment": "x" * 1001},
        {"comment": 1},
        {"comment": "\ud800"},
        {"user_id": 2**63},
        {"amount": "0"},
        {"amount": "x"},
    ],
)
def test_an_error_is_in_the_language_of_its_request(api, fields):
    for language, letters in (("ru", "[а-я]{3}"), ("en", "[a-z]{3}"), ("ru", "[а-я]{3}")):
        request = json.dumps({**REQUEST, **fields})
        answer = api.post(URL, request, content_type="application/json", headers={"Accept-Language": language})
        [[message]] = answer.json().values()
        assert re.search(letters, message), answer.json()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"amount": "1234567890123"}, "Цифр должно быть не больше 12."),
        ({"amount": "1.001"}, "Цифр после запятой должно быть не больше 2."),
        ({"currency": ""}, "Значения «» нет среди допустимых."),
    ],
)
def test_russian_messages_count_and_quote_as_russian_does(api, fields, message):
    answer = api.post(URL, {**REQUEST, **fields}, headers={"Accept-Language": "ru"})
    assert [*answer.json().values()] == [[message]]


@pytest.mark.django_db
@pytest.mark.parametrize("path", [f"{URL}01a1fcaf-a016-7176-b7af-bb375d1fea01/", f"{URL}x/", f"{URL}?cursor=x"])
def test_a_404_is_in_russian(api, path):
    answer = api.get(path, headers={"Accept-Language": "ru"})
    assert not re.search("[A-Za-z]{3}", str(list(answer.json().values()))), answer.json()


@pytest.mark.django_db
def test_the_back_office_is_in_russian(admin_client):
    make_payout(Status.PROCESSING, note="HTTP 504")
    page = admin_client.get("/admin/payouts/payout/", headers={"Accept-Language": "ru"}).content.decode()
    assert "Исход неизвестен" in page
