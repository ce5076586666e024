"""What the figures were measured on."""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

from kombu import Connection
from psycopg import Connection as Database

PACKAGES = ("Django", "djangorestframework", "celery", "kombu", "psycopg", "gunicorn", "django-ninja", "fastapi")


def describe(database: Database, broker: str) -> str:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    server = database.execute("SHOW server_version").fetchone()
    with Connection(broker) as rabbit:
        rabbit.connect()
        rabbitmq = rabbit.connection.server_properties["version"]
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores; Python {platform.python_version()}; "
        f"PostgreSQL {server[0].split()[0] if server else ''}; RabbitMQ {rabbitmq}\n{packages}"
    )
