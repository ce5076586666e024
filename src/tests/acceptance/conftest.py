import socket

import pytest

from tests.acceptance.service import Database, Gateway, Service, broker_at, deployment


@pytest.fixture
def empty_database():
    database = Database()
    yield database
    database.drop()


@pytest.fixture(scope="session")
def migrated_database():
    """The template of every other database of these tests."""
    database = Database()
    Service(database).migrate()
    yield database
    database.drop()


@pytest.fixture(scope="session")
def service(migrated_database):
    """One API and one worker. Tests share them, and stop neither."""
    with deployment(migrated_database) as service:
        service.start_api()
        service.start_worker()
        yield service


@pytest.fixture
def own_service(migrated_database):
    """A service without a process. The test starts what it needs."""
    with deployment(migrated_database) as service:
        yield service


@pytest.fixture
def gateway():
    gateway = Gateway()
    yield gateway
    gateway.close()


@pytest.fixture
def silent_broker():
    """The URL of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield broker_at(server.getsockname()[1])
