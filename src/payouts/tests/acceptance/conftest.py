import socket

import pytest

from payouts.tests.acceptance.service import Database, Service, broker_at


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
    database = Database(migrated.name)
    service = Service(database)
    service.start_api()
    service.start_worker()
    yield service
    service.close()
    database.drop()


@pytest.fixture
def own_service(migrated):
    """What it runs is for the test to say."""
    database = Database(migrated.name)
    own = Service(database)
    yield own
    own.close()
    database.drop()


@pytest.fixture
def black_hole():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield broker_at(silent.getsockname()[1])
