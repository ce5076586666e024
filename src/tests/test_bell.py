"""The message that announces a payout to the workers."""

import math
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.conf import settings

from payouts.bell import Bell
from runtime.broker import app


@pytest.fixture
def bell():
    yield Bell()
    Bell.silent_until = 0.0
    app.conf.broker_write_url = settings.CELERY_BROKER_URL


def test_the_bell_keeps_its_connection(bell, queue_length):
    bell.ring("1")
    producer = bell.producer
    bell.ring("2")
    assert bell.producer is producer
    assert queue_length() == 2


def test_the_bell_is_silent_for_a_while_after_a_failure(bell, queue_length):
    app.conf.broker_write_url = "amqp://127.0.0.1:1//"
    bell.ring("1")
    app.conf.broker_write_url = settings.CELERY_BROKER_URL
    bell.ring("2")
    assert queue_length() == 0
    Bell.silent_until = 1.0
    bell.ring("3")
    assert (queue_length(), Bell.silent_until) == (1, 0.0)


def test_only_one_thread_tries_a_broker_that_has_failed(bell):
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as other:
        app.conf.broker_write_url = f"amqp://127.0.0.1:{server.getsockname()[1]}//"
        Bell.silent_until = 1.0
        call = other.submit(bell.ring, "1")
        connection, _address = server.accept()
        assert Bell.silent_until == math.inf
        connection.close()
        call.result()
    assert Bell.silent_until < math.inf
