import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from uuid import uuid4

import pytest

from tests.acceptance.service import Service, call, wait_until
from tests.local import ROOT, free_port

SCRIPTS = ("entrypoint_migrations.sh", "entrypoint_http_api.sh", "entrypoint_celery.sh")


@pytest.mark.parametrize("turn", [1, 2])
def test_four_migrations_at_once_on_an_empty_database(empty_database, turn):
    service = Service(empty_database)
    started = [service.start("entrypoint_migrations.sh") for _ in range(4)]
    assert [process.wait(60) for process in started] == [0] * 4, service.output()
    assert service.output().count("Applying payouts.0001_initial") == 1


def test_migrations_finish_what_they_began(empty_database):
    service = Service(empty_database)
    process = service.start("entrypoint_migrations.sh")
    wait_until(lambda: "Applying" in service.output())
    assert service.stop(process) == 0
    assert empty_database.rows("SELECT count(*) FROM payouts_payout") == [(0,)]


SLOW_STATEMENT = """
CREATE FUNCTION slow() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(2); END $$;
CREATE EVENT TRIGGER slow ON ddl_command_start WHEN TAG IN ('CREATE TRIGGER') EXECUTE FUNCTION slow()
"""


def test_migrations_take_longer_than_other_statements_may(empty_database):
    with empty_database.connect() as connection:
        connection.execute(SLOW_STATEMENT)
    empty_database.set("statement_timeout = '1s'")
    Service(empty_database).migrate()


def test_migrations_hold_up_nobody_behind_them(empty_database):
    with empty_database.connect() as connection, connection.transaction():
        connection.execute("CREATE TABLE django_migrations ()")
        process = Service(empty_database).start("entrypoint_migrations.sh")
        assert process.wait(30) == 1


def test_the_first_process_of_a_container_ends_when_it_is_told_while_it_starts():
    begins = "import config, time; print('begins', flush=True); time.sleep(60)"
    alone = ["unshare", "--user", "--map-root-user", "--pid", "--fork"]
    if subprocess.run([*alone, "true"], check=False).returncode:
        pytest.skip("this system lets us have no first process")
    with subprocess.Popen([*alone, sys.executable, "-c", begins], cwd=ROOT / "src", stdout=subprocess.PIPE) as outer:
        assert outer.stdout.readline() == b"begins\n"
        [first] = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
        os.kill(int(first), signal.SIGTERM)
        assert outer.wait(30) == 143


def test_a_start_that_fails_leaves_the_metrics_of_the_one_that_runs(own_service):
    own_service.start_api()
    second = own_service.start("entrypoint_http_api.sh")
    assert second.wait(30) == 1
    own_service.post()
    counted = 'http_request_duration_seconds_count{method="POST",route="api/v1/payouts/",status="201"} 1.0'
    assert counted in call("GET", f"{own_service.base}/metrics").body.decode()


def test_celery_finds_the_service_where_it_is_not_installed():
    # As in the image: -S leaves out the file that leads from the environment to this checkout. Like -m, -c looks here.
    celery = "import sys; sys.path.append(sys.argv.pop(1)); from celery.__main__ import main; main()"
    packages = str(Path(pytest.__file__).parents[1])
    worker = subprocess.run(
        [sys.executable, "-Sc", celery, packages, *["-A", "config.celery", "worker", "--pool=threads"]],
        cwd=ROOT / "src",
        env={**os.environ, "DEBUG": "1", "DATABASE_URL": "postgres://nobody@127.0.0.1:1/nothing"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "The database cannot be used: " in worker.stderr


def first(setting):
    return next(iter(setting)) if isinstance(setting, dict) else ""


def assert_fails_with_one_line(service, setting, line, *scripts):
    started = [
        subprocess.Popen(
            [ROOT / script],
            env={**service.environment, **setting},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for script in scripts
    ]
    for process in started:
        output = process.communicate(timeout=30)[0]
        assert process.returncode == 1
        assert output.startswith(line)
        assert output.count("\n") == 1, output


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ({"DB_PORT": "1"}, "The database cannot be used: "),
        ({"DB_NAME": "x" * 64}, "The database cannot be used: "),
        ({"SECRET_KEY": ""}, "The setting SECRET_KEY cannot be used: "),
        ({"SENTRY_DSN": "https://no-key.example.com/1"}, "The setting SENTRY_DSN cannot be used: "),
    ],
    ids=first,
)
def test_each_start_fails_with_one_line(service, setting, line):
    assert_fails_with_one_line(service, setting, line, *SCRIPTS)


def test_a_database_that_does_not_exist_fails_a_start_with_one_line(service):
    line = "The database cannot be used: "
    assert_fails_with_one_line(service, {"DB_NAME": "nowhere"}, line, "entrypoint_migrations.sh")


@pytest.mark.parametrize(
    ("script", "setting"),
    [
        ("entrypoint_http_api.sh", {"WEB_CONCURRENCY": "x"}),
        ("entrypoint_http_api.sh", {"WEB_CONCURRENCY": "0"}),
        ("entrypoint_http_api.sh", {"API_THREADS": "0"}),
        ("entrypoint_http_api.sh", {"PORT": "99999"}),
        ("entrypoint_http_api.sh", {"METRICS_FOLDER": "/proc/nowhere"}),
        ("entrypoint_celery.sh", {"CELERY_CONCURRENCY": "0"}),
    ],
)
def test_an_unusable_setting_of_one_entry_point_fails_it_with_one_line(service, script, setting):
    assert_fails_with_one_line(service, setting, f"The setting {first(setting)} cannot be used: ", script)


def test_what_the_environment_does_not_set_is_read_from_a_file(empty_database, tmp_path):
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("tests", "static"))
    service = Service(empty_database, tmp_path, PGOPTIONS="")
    said = {name: service.environment.pop(name) for name in ("PORT", "API_HOST", "CELERY_TASK_DEFAULT_QUEUE")}
    said |= {"API_THREADS": "3", "CELERY_CONCURRENCY": "2", "SANDBOX_DELAY": "20", "METRICS_PORT": str(free_port())}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in said.items()))
    for script in SCRIPTS:
        shutil.copy(ROOT / script, tmp_path)
    with closing(service):
        service.migrate()
        service.start_api()
        service.start_worker()
        payouts = [service.post() for _ in range(3)]
        wait_until(lambda: service.get(payouts[1])["status"] == "PROCESSING")
        assert service.get(payouts[2])["status"] == "NEW"
        told = call("GET", f"http://127.0.0.1:{said['METRICS_PORT']}/metrics").body.decode()
        assert 'payouts_recovered_total{was="PROCESSING"} 0.0' in told


KEEP_ITS_SETTING = """
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN
        NEW.comment := current_setting('synchronous_commit') || ', ' || current_setting('transaction_isolation');
        RETURN NEW;
    END $$;
CREATE TRIGGER keep BEFORE INSERT ON payouts_payout FOR EACH ROW EXECUTE FUNCTION keep()
"""


def test_what_a_server_has_set_otherwise_changes_nothing(own_service):
    with own_service.database.connect() as connection:
        connection.execute(KEEP_ITS_SETTING)
    own_service.database.set("datestyle = 'German'")
    own_service.database.set("intervalstyle = 'iso_8601'")
    own_service.database.set("default_transaction_isolation = 'serializable'")
    own_service.database.set("synchronous_commit = off")
    url = "postgresql://{DB_USER}:{DB_PASSWORD}@{DB_HOST}:{DB_PORT}/{DB_NAME}?conn_max_age=60&options=-c%20jit%3Doff"
    url = url.format(**{"DB_PASSWORD": "", **own_service.environment})
    own_service.environment["DATABASE_URL"] = url
    own_service.migrate()
    own_service.start_api()
    made = own_service.post()
    assert made["comment"] == "on, read committed"
    assert 'payouts_in_flight{status="NEW"} 1.0' in call("GET", f"{own_service.base}/metrics").body.decode()
    own_service.start_worker()
    own_service.wait_for(made, "COMPLETED")


def test_a_worker_without_a_gateway_does_not_start(own_service):
    worker = own_service.start_worker(PAYOUT_GATEWAY="")
    assert worker.wait(30) == 1
    assert "The setting PAYOUT_GATEWAY cannot be used: " in own_service.output()


def test_a_worker_whose_metrics_have_no_port_does_not_start(own_service):
    with socket.create_server(("", 0)) as taken:
        worker = own_service.start_worker(METRICS_PORT=str(taken.getsockname()[1]))
        assert worker.wait(30) == 1
    assert "The setting METRICS_PORT cannot be used: " in own_service.output()
    assert "Traceback" not in own_service.output()


def test_a_list_that_takes_too_long_is_refused(own_service):
    own_service.start_api()
    payout = own_service.post()
    with own_service.database.connect() as other, other.transaction():
        other.execute("LOCK TABLE payouts_payout")
        answers = [call("GET", url) for url in (own_service.payouts, f"{own_service.payouts}{payout['id']}/")]
    assert [answer.status for answer in answers] == [400, 503]
    assert "takes too long" in answers[0].json()["detail"]


def test_a_terminated_api_answers_what_it_accepted(own_service):
    api = own_service.start_api()
    answers = []
    stopping = threading.Event()

    def client():
        while not stopping.is_set():
            try:
                answers.append(call("POST", own_service.payouts, {"amount": "0"}).status)
            except ConnectionRefusedError:
                return
            except OSError as error:
                answers.append(str(error))

    clients = [threading.Thread(target=client) for _ in range(4)]
    for thread in clients:
        thread.start()
    wait_until(lambda: len(answers) > 50)
    assert own_service.stop(api) == 0
    stopping.set()
    for thread in clients:
        thread.join()
    refused = [answer for answer in answers if answer != 400]
    assert all("refused" in str(answer) or "reset" in str(answer) for answer in refused), refused


def cores(pid):
    """Where the process may run, all threads of it."""
    return {core for task in Path(f"/proc/{pid}/task").iterdir() for core in os.sched_getaffinity(int(task.name))}


@pytest.mark.parametrize(("one_core", "number"), [("", 1), ("False", len(os.sched_getaffinity(0)))])
def test_a_process_stays_on_a_core(own_service, one_core, number):
    own_service.environment["ONE_CORE"] = one_core
    api, worker = own_service.start_api(WEB_CONCURRENCY="2"), own_service.start_worker()
    own_service.wait_for(own_service.post(), "COMPLETED")
    children = Path(f"/proc/{api.pid}/task/{api.pid}/children").read_text().split()
    assert [len(cores(pid)) for pid in (worker.pid, *children)] == [number] * 3


def test_processes_take_the_emptiest_core():
    name, allowed = uuid4().hex, set(sorted(os.sched_getaffinity(0))[:2])
    sit_down = f"import os, time, runtime.cores as cores; os.sched_setaffinity(0, {allowed});"
    sit_down += f"os.sched_setaffinity(0, {{cores.emptiest(sorted({allowed}), '{name}')}}); print(os.sched_getaffinity(0), flush=True); time.sleep(60)"
    with ExitStack() as stack:

        def start():
            command = [sys.executable, "-c", sit_down]
            process = stack.enter_context(subprocess.Popen(command, cwd=ROOT / "src", stdout=subprocess.PIPE))
            stack.callback(process.kill)
            return process, process.stdout.readline()

        processes = [start() for _ in range(2 * len(allowed))]
        assert {*Counter(core for _process, core in processes).values()} == {2}
        for process, core in processes[:3]:
            process.kill()
            process.wait()
            assert start()[1] == core


def test_pages_of_the_named_origins_may_call_the_api(own_service):
    own_service.start_api(CORS_ALLOWED_ORIGINS="https://backoffice.example.com,https://pay.example.com")
    asked = {
        "Origin": "https://pay.example.com",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,idempotency-key,x-request-id",
    }
    allowed = call("OPTIONS", own_service.payouts, **asked).headers
    assert allowed["access-control-allow-origin"] == asked["Origin"]
    assert "POST" in allowed["access-control-allow-methods"]
    names = set(allowed["access-control-allow-headers"].split(", "))
    assert names >= set(asked["Access-Control-Request-Headers"].split(","))
    body = {"amount": "1", "currency": "EUR", "recipient_details": {"a": 1}}
    made = call("POST", own_service.payouts, body, Origin=asked["Origin"])
    assert (made.status, made.headers["access-control-allow-origin"]) == (201, asked["Origin"])
    assert "location" in made.headers["access-control-expose-headers"]
    stranger = call("POST", own_service.payouts, body, Origin="https://elsewhere.example.com")
    assert "access-control-allow-origin" not in stranger.headers


def test_a_chunked_body_without_a_length_is_refused(service):
    with closing(http.client.HTTPConnection("127.0.0.1", service.port)) as connection:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/api/v1/payouts/", iter([b'{"amount": "1"}']), headers, encode_chunked=True)
        with connection.getresponse() as answer:
            assert (answer.status, answer.headers["Content-Type"]) == (411, "application/json")


@pytest.mark.parametrize("size", [65_537, 5_000_000])
def test_a_long_body_is_413_and_the_process_lives(service, size):
    assert call("POST", service.payouts, {"comment": "x" * size}).status == 413
    assert call("GET", f"{service.base}/healthz/").status == 200
