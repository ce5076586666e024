import gettext
import re
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import translation

from payouts.models import Payout, Status
from payouts.tests.make import REQUEST, URL

CATALOGUE = settings.LOCALE_PATHS[0] / "ru/LC_MESSAGES/django.mo"
MARKED = re.compile(r'(?:\b_|gettext)\(\s*"((?:[^"\\]|\\.)*)"')


def test_every_message_has_a_translation():
    with CATALOGUE.open("rb") as compiled:
        russian = gettext.GNUTranslations(compiled)
    sources = [path for folder in ("config", "payouts") for path in Path(settings.SRC, folder).glob("*.py")]
    messages = {message for path in sources for message in MARKED.findall(path.read_text())}
    assert len(messages) > 30
    assert {message for message in messages if russian.gettext(message) == message} == set()


@pytest.mark.django_db
def test_the_service_speaks_the_language_that_is_set(api):
    with translation.override("ru"):
        answer = api.post(URL, {**REQUEST, "recipient_details": {}})
        assert answer.json() == {"recipient_details": ["Должен быть непустой объект JSON."]}
        assert Payout(status=Status.NEW).get_status_display() == "Новая"
