"""Redis in place of RabbitMQ, stopped and frozen. With CELERY_BROKER_URL=redis://… the whole tier runs on one."""

import shutil
import signal

import pytest

from tests.acceptance.service import Redis, call, wait_until

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server on the PATH")


@pytest.fixture
def redis():
    redis = Redis()
    redis.start()
    yield redis
    redis.kill()


@pytest.fixture
def on_redis(own_service, redis):
    own_service.environment |= {"CELERY_BROKER_URL": redis.url, "WEB_CONCURRENCY": "1"}
    return own_service


def test_messages_alone_are_enough_before_and_after_a_restart(on_redis, redis):
    on_redis.environment["PAYOUT_RECOVERY_INTERVAL"] = "3600"
    on_redis.start_api()
    worker = on_redis.start_worker()
    on_redis.wait_for(on_redis.post(), "COMPLETED")
    redis.kill()
    redis.start()
    for payout in [on_redis.post() for _ in range(8)]:
        on_redis.wait_for(payout, "COMPLETED")
    done = on_redis.manage("check_worker")
    assert done.returncode == 0, done.stderr
    assert on_redis.stop(worker) == 0
    assert "known-to-redis" not in on_redis.output()


def test_a_frozen_server_loses_no_payout(on_redis, redis):
    on_redis.environment["PAYOUT_RECOVERY_INTERVAL"] = "0.5"
    on_redis.start_api()
    on_redis.start_worker()
    on_redis.wait_for(on_redis.post(), "COMPLETED")
    redis.signal(signal.SIGSTOP)
    for payout in [on_redis.post() for _ in range(20)]:
        on_redis.wait_for(payout, "COMPLETED")
    unrung = wait_until(lambda: on_redis.log_lines(logger="payouts.bell", level="WARNING"))
    assert unrung[0]["message"].startswith("the broker takes no message, recovery will pay instead: ")
    assert "payouts_bell_failures_total 20.0" in call("GET", f"{on_redis.base}/metrics").body.decode()


def test_a_worker_that_is_turned_away_by_a_full_server_leaves_no_connection_open(on_redis, redis):
    redis.fill()
    on_redis.start_worker()
    wait_until(lambda: len(on_redis.log_lines(logger="celery.worker.consumer.consumer")) > 12)
    redis.empty()
    wait_until(lambda: on_redis.log_lines(logger="celery.apps.worker"))
    assert redis.census()["connections to Redis"] < 8


def test_over_tls_a_server_is_known_by_its_certificate(own_service, certificate, request):
    redis = Redis(certificate)
    redis.start()
    request.addfinalizer(redis.kill)
    own_service.environment |= {"CELERY_BROKER_URL": redis.url, "PAYOUT_RECOVERY_INTERVAL": "3600"}
    worker = own_service.start_worker()
    wait_until(lambda: "certificate verify failed" in own_service.output())
    own_service.stop(worker)
    own_service.environment["SSL_CERT_FILE"] = str(certificate)
    own_service.start_api()
    own_service.start_worker()
    own_service.wait_for(own_service.post(), "COMPLETED")
