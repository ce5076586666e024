"""Each bend of a library works, and the library still needs it. A docstring names the file of the bend."""

import os
import re
import subprocess
import sys
from concurrent.futures import CancelledError, ThreadPoolExecutor
from threading import Event
from types import SimpleNamespace

import psycopg
import pycurl  # type: ignore[import-untyped]
import pytest
from celery.apps import worker
from celery.concurrency.thread import TaskPool
from celery.utils.dispatch import Signal
from celery.worker import consumer, state
from django.db import ProgrammingError, connection
from django.db.backends.postgresql import base
from kombu import Connection, Queue
from kombu.transport import filesystem, memory
from rest_framework import serializers

from runtime.broker import app
from runtime.consumer import Consumer
from runtime.curl import QUICK_EXIT
from runtime.filesystem import Transport
from runtime.rest import BuiltOnce
from runtime.worker import drop_waiting_tasks, log_json_only
from tests.local import ROOT


def test_each_bend_has_a_test():
    notes = {path.name for path in (ROOT / "src").rglob("*.py") if re.search("# Bends [a-z]+ [0-9]", path.read_text())}
    assert notes == set(re.findall(r"Bend: runtime/(?:\w+/)?(\w+\.py)", (ROOT / "src/tests/test_bends.py").read_text()))


def connect_to(folder, transport):
    (folder / "control").mkdir()
    options = {"data_folder_in": folder, "data_folder_out": folder, "control_folder": folder / "control"}
    return Connection("filesystem://", transport=transport, transport_options=options)


class MessageCount:
    """A message whose content is the number of messages that a reader sees while it is written."""

    def __init__(self, folder):
        self.folder = folder

    def __json__(self):
        return len([*self.folder.glob("*.msg")])


def test_kombu_shows_a_message_before_it_is_complete(tmp_path):
    """Bend: runtime/filesystem.py"""
    with connect_to(tmp_path, filesystem.Transport) as broker:
        broker.channel()._put("any", MessageCount(tmp_path))
    assert [file.read_text() for file in tmp_path.glob("*.msg")] == ["1"]


def test_our_transport_shows_a_message_only_when_it_is_complete(tmp_path):
    """Bend: runtime/filesystem.py"""
    sizes = set()
    with connect_to(tmp_path, Transport) as broker, ThreadPoolExecutor(4) as writers:
        channel = broker.channel()
        messages = [writers.submit(channel._put, "any", "ding") for _ in range(2000)]
        while not all(message.done() for message in messages):
            sizes |= {file.stat().st_size for file in tmp_path.glob("*.msg")}
    assert sizes == {len('"ding"')}


def test_curl_has_an_option_for_which_pycurl_has_no_name():
    """Bend: runtime/curl.py. test_http_gateway.py tests what the option does."""
    assert not hasattr(pycurl, "QUICK_EXIT")
    pycurl.Curl().setopt(QUICK_EXIT, 1)
    # curl would refuse an option that it does not know.
    with pytest.raises((TypeError, pycurl.error)):
        pycurl.Curl().setopt(QUICK_EXIT + 100, 1)


def make_consumer(kind, **fields):
    controller, pool = SimpleNamespace(use_eventloop=False), SimpleNamespace(is_green=False)
    return kind(None, app=app, controller=controller, pool=pool, **fields)


@pytest.mark.parametrize(("kind", "is_kept"), [(consumer.Consumer, False), (Consumer, True)])
def test_only_our_consumer_remembers_a_connection_that_breaks_while_it_connects(monkeypatch, kind, is_kept):
    """Bend: runtime/consumer.py, connection_for_read"""

    def refuse(*_args):
        raise ConnectionError

    monkeypatch.setattr(memory.Transport, "register_with_event_loop", refuse)
    instance = make_consumer(kind, hub=object())
    with pytest.raises(ConnectionError):
        instance.connect()
    assert (instance.connection is not None) is is_kept


@pytest.fixture
def message():
    """A message whose header `task` is a list, where Celery expects a name."""
    with app.connection() as broker:
        queue = Queue("unreadable")(broker.default_channel)
        queue.declare()
        broker.Producer().publish([], routing_key="unreadable", headers={"task": ["payouts.process"]})
        yield queue.get()
        queue.delete()


def test_celery_breaks_on_an_unreadable_message(message):
    """Bend: runtime/consumer.py, create_task_handler"""
    with pytest.raises(TypeError):
        make_consumer(consumer.Consumer).create_task_handler()(message)
    assert not message.acknowledged


def test_our_consumer_rejects_an_unreadable_message(message):
    """Bend: runtime/consumer.py, create_task_handler"""
    make_consumer(Consumer).create_task_handler()(message)
    assert message.acknowledged


def test_celery_writes_a_line_past_the_log_when_a_worker_stops(monkeypatch, capfd):
    """Bend: runtime/worker.py, log_json_only"""
    signals = {}
    monkeypatch.setattr(worker, "platforms", SimpleNamespace(signals=signals))
    monkeypatch.setattr(worker, "signals", SimpleNamespace(worker_shutting_down=Signal()))
    monkeypatch.setattr(worker, "safe_say", worker.safe_say)
    monkeypatch.setattr(state, "should_stop", None)
    worker._shutdown_handler(SimpleNamespace(hostname="any"))
    signals["SIGTERM"]()
    assert "worker: Warm shutdown" in capfd.readouterr().out
    log_json_only()
    signals["SIGTERM"]()
    assert capfd.readouterr() == ("", "")


def test_celery_s_pool_of_threads_drops_no_task_by_itself():
    """Bend: runtime/worker.py, drop_waiting_tasks"""
    pool, started, ending = TaskPool(limit=1), Event(), Event()
    pool.start()
    try:
        pool.apply_async(lambda: started.set() or ending.wait(5))
        assert started.wait(5)
        result = pool.apply_async(print)
        # If Celery adds a method, look whether it drops tasks that wait.
        methods = {name for name in vars(TaskPool) if callable(getattr(TaskPool, name)) and not name.startswith("_")}
        assert methods == {"on_apply", "on_stop"}
        drop_waiting_tasks(pool)
        with pytest.raises(CancelledError):
            result.get(0)
    finally:
        ending.set()
        pool.stop()


# Its new process is told to end before it has run a line, and ends its arbiter in any case.
GUNICORN = """
import os, signal, sys
from gunicorn.app.base import BaseApplication

fork = os.fork

def fork_and_terminate():
    if pid := fork():
        os.kill(pid, signal.SIGTERM)
    return pid

def post_worker_init(worker):
    if sys.argv[1] == "ours":
        ours.post_worker_init(worker)
    if worker.alive:
        print("it goes on", flush=True)
    sys.exit()

class App(BaseApplication):
    def load_config(self):
        if sys.argv[1] == "ours":
            self.cfg.set("pre_fork", ours.pre_fork)
        self.cfg.set("post_worker_init", post_worker_init)
        self.cfg.set("worker_exit", lambda server, worker: os.kill(os.getppid(), signal.SIGTERM))
        self.cfg.set("bind", "127.0.0.1:0")

    def load(self):
        return print

if sys.argv[1] == "ours":
    from config import gunicorn as ours
os.fork = fork_and_terminate
App().run()
"""


@pytest.mark.parametrize(("whose", "output"), [("gunicorn's", "it goes on\n"), ("ours", "")])
def test_only_our_new_process_heeds_a_sigterm_that_comes_early(whose, output, tmp_path):
    """Bend: runtime/start.py"""
    run = subprocess.run(
        [sys.executable, "-c", GUNICORN, whose],
        cwd=ROOT / "src",
        env={**os.environ, "DEBUG": "1", "METRICS_FOLDER": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert run.stdout == output


@pytest.mark.parametrize(("kind", "is_shared"), [(serializers.Serializer, False), (BuiltOnce, True)])
def test_only_our_serializers_share_their_fields(kind, is_shared):
    """Bend: runtime/rest.py"""
    serializer = type("OneField", (kind,), {"field": serializers.CharField()})
    assert (serializer().fields["field"] is serializer().fields["field"]) is is_shared


def backend_pid():
    with connection.cursor() as cursor:
        return cursor.execute("SELECT pg_backend_pid()").fetchone()[0]


@pytest.mark.django_db(transaction=True)
def test_django_opens_a_connection_anew_where_ours_goes_from_thread_to_thread():
    """Bend: runtime/postgresql/base.py"""

    def pid_of_another_thread():
        try:
            return backend_pid()
        finally:
            connection.close()

    first = backend_pid()
    connection.close()
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(pid_of_another_thread).result() == first
    assert backend_pid() == first
    plain = base.DatabaseWrapper(connection.settings_dict, alias="default")
    pids = set()
    for _ in range(2):
        with plain.cursor() as cursor:
            pids |= {cursor.execute("SELECT pg_backend_pid()").fetchone()[0]}
        plain.close()
    assert len(pids) == 2


@pytest.mark.django_db(transaction=True)
def test_nobody_gets_a_connection_that_its_server_has_closed():
    """Bend: runtime/postgresql/base.py"""
    pid = backend_pid()
    connection.close()
    with psycopg.connect(**connection.get_connection_params()) as other:
        assert other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid]).fetchone() == (True,)
    assert backend_pid() != pid


@pytest.mark.django_db(transaction=True)
def test_nobody_gets_a_connection_that_has_had_an_error():
    """Bend: runtime/postgresql/base.py"""
    pid = backend_pid()
    with pytest.raises(ProgrammingError), connection.cursor() as cursor:
        cursor.execute("SELECT nothing")
    connection.close()
    assert backend_pid() != pid
    connection.close()
    assert backend_pid() != pid
