import gettext
import re
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import translation

from payouts.tests.make import REQUEST, URL

CATALOGUE = settings.LOCALE_PATHS[0] / "ru/LC_MESSAGES/django.mo"
MARKED = re.compile(r'(?:\b_|gettext)\(\s*"((?:[^"\\]|\\.)*)"')


@pytest.fixture(autouse=True)
def english():
    """Again: what a request has set holds until the thread's next one."""
    with translation.override("en"):
        yield


def test_every_message_has_a_translation():
    with CATALOGUE.open("rb") as compiled:
        russian = gettext.GNUTranslations(compiled)
    sources = [path for folder in ("config", "payouts") for path in Path(settings.SRC, folder).glob("*.py")]
    messages = {message for path in sources for message in MARKED.findall(path.read_text())}
    assert len(messages) > 30
    assert {message for message in messages if russian.gettext(message) == message} == set()


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
def test_the_service_speaks_the_browser_s_language_or_the_one_that_is_set(api, settings, language, code, text):
    settings.LANGUAGE_CODE = code
    headers = {"Accept-Language": language}
    answer = api.post(URL, {**REQUEST, "recipient_details": {}}, headers=headers)
    assert answer.json() == {"recipient_details": [text]}
    assert "Accept-Language" in answer["Vary"]
    assert not answer.cookies
