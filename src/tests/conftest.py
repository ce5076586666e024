import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from rest_framework.test import APIClient

from payouts import gateways
from payouts.querysets import installation
from runtime.broker import app
from tests.back_office import staff

APIClient.default_format = "json"


def pytest_collection_modifyitems(items):
    """Runs the acceptance tests first, so that no long file is left alone at the end."""
    items.sort(key=lambda item: item.path.parent.name != "acceptance")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker):
    """Reads the database's id, which each process remembers. A transactional test empties its table, too."""
    with django_db_blocker.unblock():
        installation()


@pytest.fixture(autouse=True)
def quick_passwords(settings):
    """A slow hash keeps attackers waiting. The tests need not wait."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def no_static_files(settings):
    """Saves each test client a search for the static files of all packages. The browser tests use the deployed API."""
    settings.WHITENOISE_USE_FINDERS = False


@pytest.fixture
def api() -> APIClient:
    return APIClient()


@pytest.fixture
def superuser():
    """A client of an account that may do anything."""
    return staff(is_superuser=True)


@pytest.fixture
def use_routes(settings):
    """Sets PAYOUT_ROUTES, in which `others` stands for the star, and returns the gateways by name."""

    def use(**routes):
        settings.PAYOUT_ROUTES = {currency.replace("others", "*"): name for currency, name in routes.items()}
        gateways.routes.cache_clear()
        return {name: route.gateway for name, route in gateways.routes().items()}

    yield use
    gateways.routes.cache_clear()


@pytest.fixture
def queue_length():
    """Empties the queue, and then tells how many messages are in it."""
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
    """A self-signed certificate and its key, in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on the PATH")
    file = tmp_path / "own.pem"
    subject = "-subj /CN=own -addext subjectAltName=IP:127.0.0.1 -addext keyUsage=critical,digitalSignature,keyCertSign"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout {file} -out {file} {subject}"
    subprocess.run(command.split(), capture_output=True, check=True)
    return file
