import math
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.conf import settings
from kombu import Connection

from payouts.bell import Bell
from runtime.broker import app
from runtime.filesystem import Transport


@pytest.fixture
def bell():
    yield Bell()
    Bell.silent_until = 0.0
    app.conf.broker_write_url = settings.CELERY_BROKER_URL


def test_keeps_its_connection(bell, waiting):
    bell.ring("1")
    producer = bell.producer
    bell.ring("2")
    assert bell.producer is producer
    assert waiting() == 2


def test_is_silent_for_a_while_after_a_failure_and_then_rings_again(bell, waiting):
    app.conf.broker_write_url = "amqp://127.0.0.1:1//"
    bell.ring("1")
    app.conf.broker_write_url = settings.CELERY_BROKER_URL
    bell.ring("2")
    assert waiting() == 0
    Bell.silent_until = 1.0
    bell.ring("3")
    assert (waiting(), Bell.silent_until) == (1, 0.0)


def test_one_thread_alone_tries_a_broker_that_was_sick(bell):
    with socket.create_server(("127.0.0.1", 0)) as mute, ThreadPoolExecutor(1) as other:
        app.conf.broker_write_url = f"amqp://127.0.0.1:{mute.getsockname()[1]}//"
        Bell.silent_until = 1.0
        trying = other.submit(bell.ring, "1")
        accepted, _address = mute.accept()
        assert Bell.silent_until == math.inf
        accepted.close()
        trying.result()
    assert Bell.silent_until < math.inf


def test_a_message_in_a_file_is_all_there_when_it_is_seen(tmp_path):
    folders = {"data_folder_in": tmp_path, "data_folder_out": tmp_path, "control_folder": tmp_path / "control"}
    (tmp_path / "control").mkdir()
    seen = set()
    with (
        Connection("filesystem://", transport=Transport, transport_options=folders) as connection,
        ThreadPoolExecutor(4) as writers,
    ):
        channel = connection.channel()
        writing = [writers.submit(channel._put, "any", "ding") for _ in range(2000)]
        while not all(message.done() for message in writing):
            seen |= {file.stat().st_size for file in tmp_path.glob("*.msg")}
    assert seen == {len('"ding"')}
