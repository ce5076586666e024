import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from rest_framework.test import APIClient

from runtime.broker import app

APIClient.default_format = "json"


def pytest_collection_modifyitems(items):
    """Long files first, so that none is left alone at the end; pytest-django puts what needs no rollback last."""
    items.sort(key=lambda item: item.path.parent.name != "acceptance")


@pytest.fixture(autouse=True)
def quick_passwords(settings):
    """A hash that takes half a second is for attackers to wait for."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def no_static_files(settings):
    """Each test's client would look for those of all packages; browsers ask the deployed API for them."""
    settings.WHITENOISE_USE_FINDERS = False


@pytest.fixture
def api() -> APIClient:
    return APIClient()


@pytest.fixture
def waiting():
    """How many messages are in the queue."""
    queue = app.conf.task_default_queue
    with app.connection() as connection:
        channel = connection.default_channel
        app.amqp.queues[queue].bind(channel).declare()
        channel.queue_purge(queue)
        yield lambda: channel.queue_declare(queue, passive=True).message_count


@pytest.fixture
def hour() -> timedelta:
    return timedelta(hours=1)


@pytest.fixture
def certificate(tmp_path) -> Path:
    """One that nobody else has signed, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on the PATH")
    own = tmp_path / "own.pem"
    named = "-subj /CN=own -addext subjectAltName=IP:127.0.0.1 -addext keyUsage=critical,digitalSignature,keyCertSign"
    make = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout {own} -out {own} {named}"
    subprocess.run(make.split(), capture_output=True, check=True)
    return own
