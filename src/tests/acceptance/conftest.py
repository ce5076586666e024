import socket

import pytest

from tests.acceptance.service import Database, Gateway, Service, broker_at, served


@pytest.fixture
def empty_database():
    database = Database()
    yield database
    database.drop()


@pytest.fixture(scope="session")
def migrated():
    """The template of every other database here."""
    database = Database()
    Service(database).migrate()
    yield database
    database.drop()


@pytest.fixture(scope="session")
def service(migrated):
    """With one API and one worker, for the tests that stop neither."""
    with served(migrated) as service:
        service.start_api()
        service.start_worker()
        yield service


@pytest.fixture
def own_service(migrated):
    """What it runs is for the test to say."""
    with served(migrated) as service:
        yield service


@pytest.fixture
def gateway():
    gateway = Gateway()
    yield gateway
    gateway.close()


@pytest.fixture
def black_hole():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield broker_at(silent.getsockname()[1])
