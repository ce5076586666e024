import time
from argparse import ArgumentParser
from typing import Any

from celery.exceptions import TimeoutError as NoAnswer
from django.core.management.base import BaseCommand, CommandError
from kombu.exceptions import OperationalError

from payouts import tasks
from runtime.broker import app


class Command(BaseCommand):
    help = "Sends a task through the broker and waits for a worker's reply: the smoke test after a deploy."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--timeout", type=float, default=10, help="seconds")

    def handle(self, *args: Any, timeout: float, **options: Any) -> None:
        broker, began = app.connection_for_write(), time.monotonic()
        failures: Any = (NoAnswer, OperationalError, *broker.connection_errors, *broker.channel_errors)
        try:
            worker = tasks.report_name.apply_async(expires=timeout).get(timeout=timeout)
        except failures as error:
            raise CommandError(f"No worker has answered: {error}") from error
        self.stdout.write(f"{worker} answered after {time.monotonic() - began:.3f} s")
