"""How the three entry points start, what stops a start, and how they end."""

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


@pytest.mark.parametrize("run", [1, 2])
def test_of_four_migrations_at_once_one_applies_the_schema(empty_database, run):
    service = Service(empty_database)
    processes = [service.start("entrypoint_migrations.sh") for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4, service.output()
    assert service.output().count("Applying payouts.0001_initial") == 1


def test_terminated_migrations_finish_first(empty_database):
    service = Service(empty_database)
    process = service.start("entrypoint_migrations.sh")
    wait_until(lambda: "Applying" in service.output())
    assert service.stop(process) == 0
    assert empty_database.rows("SELECT count(*) FROM payouts_payout") == [(0,)]


SLOW_STATEMENT = """
CREATE FUNCTION slow() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(2); END $$;
CREATE EVENT TRIGGER slow ON ddl_command_start WHEN TAG IN ('CREATE TRIGGER') EXECUTE FUNCTION slow()
"""


def test_migrations_may_take_longer_than_other_statements(empty_database):
    with empty_database.connect() as connection:
        connection.execute(SLOW_STATEMENT)
    empty_database.set("statement_timeout = '1s'")
    Service(empty_database).migrate()


def test_migrations_give_up_soon_where_a_table_is_locked(empty_database):
    with empty_database.connect() as connection, connection.transaction():
        connection.execute("CREATE TABLE django_migrations ()")
        process = Service(empty_database).start("entrypoint_migrations.sh")
        assert process.wait(30) == 1


def test_the_first_process_of_a_container_can_be_terminated_while_it_starts():
    program = "import config, time; print('begins', flush=True); time.sleep(60)"
    container = ["unshare", "--user", "--map-root-user", "--pid", "--fork"]
    if subprocess.run([*container, "true"], check=False).returncode:
        pytest.skip("this system lets nobody start a container by unshare")
    with subprocess.Popen(
        [*container, sys.executable, "-c", program], cwd=ROOT / "src", stdout=subprocess.PIPE
    ) as outer:
        assert outer.stdout.readline() == b"begins\n"
        [first] = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
        os.kill(int(first), signal.SIGTERM)
        assert outer.wait(30) == 143


def test_a_second_api_that_fails_to_start_leaves_the_metrics_of_the_first(own_service):
    own_service.start_api()
    second = own_service.start("entrypoint_http_api.sh")
    assert second.wait(30) == 1
    own_service.post()
    line = 'http_request_duration_seconds_count{method="POST",route="api/v1/payouts/",status="201"} 1.0'
    assert line in call("GET", f"{own_service.base}/metrics").body.decode()


def test_celery_finds_the_service_where_it_is_not_installed():
    # As in the image: with -S Python ignores the file that leads from .venv to this checkout. With -c it looks into the
    # working directory.
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


def name_of(setting):
    return next(iter(setting)) if isinstance(setting, dict) else ""


def assert_fails_with_one_line(service, setting, line, *scripts):
    processes = [
        subprocess.Popen(
            [ROOT / script],
            env={**service.environment, **setting},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for script in scripts
    ]
    for process in processes:
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
    ids=name_of,
)
def test_each_entry_point_fails_with_one_line(service, setting, line):
    assert_fails_with_one_line(service, setting, line, *SCRIPTS)


def test_migrations_without_their_database_fail_with_one_line(service):
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
def test_an_entry_point_fails_with_one_line_for_a_setting_of_its_own(service, script, setting):
    assert_fails_with_one_line(service, setting, f"The setting {name_of(setting)} cannot be used: ", script)


def test_settings_that_the_environment_lacks_are_read_from_the_file(empty_database, tmp_path):
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("tests", "static"))
    service = Service(empty_database, tmp_path, PGOPTIONS="")
    settings = {name: service.environment.pop(name) for name in ("PORT", "API_HOST", "CELERY_TASK_DEFAULT_QUEUE")}
    settings |= {"API_THREADS": "3", "CELERY_CONCURRENCY": "2", "SANDBOX_DELAY": "20", "METRICS_PORT": str(free_port())}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    for script in SCRIPTS:
        shutil.copy(ROOT / script, tmp_path)
    with closing(service):
        service.migrate()
        service.start_api()
        service.start_worker()
        payouts = [service.post() for _ in range(3)]
        wait_until(lambda: service.get(payouts[1])["status"] == "PROCESSING")
        assert service.get(payouts[2])["status"] == "NEW"
        metrics = call("GET", f"http://127.0.0.1:{settings['METRICS_PORT']}/metrics").body.decode()
        assert 'payouts_recovered_total{was="PROCESSING"} 0.0' in metrics


SHOW_SETTINGS = """
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN
        NEW.comment := current_setting('synchronous_commit') || ', ' || current_setting('transaction_isolation');
        RETURN NEW;
    END $$;
CREATE TRIGGER keep BEFORE INSERT ON payouts_payout FOR EACH ROW EXECUTE FUNCTION keep()
"""


def test_settings_of_the_server_do_not_change_ours(own_service):
    with own_service.database.connect() as connection:
        connection.execute(SHOW_SETTINGS)
    own_service.database.set("datestyle = 'German'")
    own_service.database.set("intervalstyle = 'iso_8601'")
    own_service.database.set("default_transaction_isolation = 'serializable'")
    own_service.database.set("synchronous_commit = off")
    url = "postgresql://{DB_USER}:{DB_PASSWORD}@{DB_HOST}:{DB_PORT}/{DB_NAME}?conn_max_age=60&options=-c%20jit%3Doff"
    url = url.format(**{"DB_PASSWORD": "", **own_service.environment})
    own_service.environment["DATABASE_URL"] = url
    own_service.migrate()
    own_service.start_api()
    payout = own_service.post()
    assert payout["comment"] == "on, read committed"
    assert 'payouts_in_flight{status="NEW"} 1.0' in call("GET", f"{own_service.base}/metrics").body.decode()
    own_service.start_worker()
    own_service.wait_for(payout, "COMPLETED")


def test_a_worker_without_a_gateway_does_not_start(own_service):
    worker = own_service.start_worker(PAYOUT_GATEWAY="")
    assert worker.wait(30) == 1
    assert "The setting PAYOUT_GATEWAY cannot be used: " in own_service.output()


def test_a_worker_whose_metrics_port_is_taken_does_not_start(own_service):
    with socket.create_server(("", 0)) as server:
        worker = own_service.start_worker(METRICS_PORT=str(server.getsockname()[1]))
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


def test_a_terminated_api_answers_the_requests_that_it_accepted(own_service):
    api = own_service.start_api()
    answers = []
    stopping = threading.Event()

    def client():
        while not stopping.is_set():
            try:
                answers.append(call("POST", own_service.payouts, {"amount": "0"}).status)
            except OSError as error:
                answers.append(str(error))
                if "refused" in answers[-1]:
                    return

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
    """The cores on which the threads of this process may run."""
    return {core for task in Path(f"/proc/{pid}/task").iterdir() for core in os.sched_getaffinity(int(task.name))}


@pytest.mark.parametrize(("setting", "number"), [("", 1), ("False", len(os.sched_getaffinity(0)))])
def test_each_process_stays_on_one_core_unless_a_setting_forbids_it(own_service, setting, number):
    own_service.environment["ONE_CORE"] = setting
    api, worker = own_service.start_api(WEB_CONCURRENCY="2"), own_service.start_worker()
    own_service.wait_for(own_service.post(), "COMPLETED")
    children = Path(f"/proc/{api.pid}/task/{api.pid}/children").read_text().split()
    assert [len(cores(pid)) for pid in (worker.pid, *children)] == [number] * 3


def test_a_process_takes_the_emptiest_core():
    name, allowed = uuid4().hex, set(sorted(os.sched_getaffinity(0))[:2])
    program = f"""
import os, time, runtime.cores as cores
os.sched_setaffinity(0, {allowed})
os.sched_setaffinity(0, {{cores.emptiest(sorted({allowed}), '{name}')}})
print(os.sched_getaffinity(0), flush=True)
time.sleep(60)
"""
    with ExitStack() as stack:

        def start():
            command = [sys.executable, "-c", program]
            process = stack.enter_context(subprocess.Popen(command, cwd=ROOT / "src", stdout=subprocess.PIPE))
            stack.callback(process.kill)
            return process, process.stdout.readline()

        processes = [start() for _ in range(2 * len(allowed))]
        assert {*Counter(core for _process, core in processes).values()} == {2}
        for process, core in processes[:3]:
            process.kill()
            process.wait()
            assert start()[1] == core


def test_pages_of_the_origins_in_the_setting_may_call_the_api(own_service):
    own_service.start_api(CORS_ALLOWED_ORIGINS="https://backoffice.example.com,https://pay.example.com")
    headers = {
        "Origin": "https://pay.example.com",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,idempotency-key,x-request-id",
    }
    answer = call("OPTIONS", own_service.payouts, **headers).headers
    assert answer["access-control-allow-origin"] == headers["Origin"]
    assert "POST" in answer["access-control-allow-methods"]
    names = set(answer["access-control-allow-headers"].split(", "))
    assert names >= set(headers["Access-Control-Request-Headers"].split(","))
    body = {"amount": "1", "currency": "EUR", "recipient_details": {"a": 1}}
    created = call("POST", own_service.payouts, body, Origin=headers["Origin"])
    assert (created.status, created.headers["access-control-allow-origin"]) == (201, headers["Origin"])
    assert "location" in created.headers["access-control-expose-headers"]
    stranger = call("POST", own_service.payouts, body, Origin="https://elsewhere.example.com")
    assert "access-control-allow-origin" not in stranger.headers


def test_a_chunked_body_without_a_length_is_refused(service):
    with closing(http.client.HTTPConnection("127.0.0.1", service.port)) as connection:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/api/v1/payouts/", iter([b'{"amount": "1"}']), headers, encode_chunked=True)
        with connection.getresponse() as answer:
            assert (answer.status, answer.headers["Content-Type"]) == (411, "application/json")


@pytest.mark.parametrize("size", [65_537, 5_000_000])
def test_a_body_that_is_too_long_is_413_and_harms_no_process(service, size):
    assert call("POST", service.payouts, {"comment": "x" * size}).status == 413
    assert call("GET", f"{service.base}/healthz/").status == 200
