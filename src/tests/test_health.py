"""Whether a process says that it is alive and ready."""

import pytest
from django.db import connection

from runtime.health import pending_migrations

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("path", ["/healthz/", "/readyz/"])
def test_the_health_checks_answer_ok(client, path):
    answer = client.get(path)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_the_api_is_ready_once_the_migrations_are_applied(client):
    pending_migrations.cache_clear()
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT * FROM django_migrations")
        cursor.execute("DELETE FROM django_migrations WHERE app = 'payouts'")
        answer = client.get("/readyz/")
        assert (answer.status_code, answer.json()["status"]) == (503, "the database's schema is not current")
        cursor.execute("INSERT INTO django_migrations SELECT * FROM kept WHERE app = 'payouts'")
    assert client.get("/readyz/").status_code == 200
