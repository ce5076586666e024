"""Redis in place of RabbitMQ, stopped, frozen and full. With CELERY_BROKER_URL=redis://… all tests here use it."""

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
def redis_service(own_service, redis):
    own_service.environment |= {"CELERY_BROKER_URL": redis.url, "WEB_CONCURRENCY": "1"}
    return own_service


def test_messages_alone_get_payouts_paid_before_and_after_a_restart(redis_service, redis):
    redis_service.environment["PAYOUT_RECOVERY_INTERVAL"] = "3600"
    redis_service.start_api()
    worker = redis_service.start_worker()
    redis_service.wait_for(redis_service.post(), "COMPLETED")
    redis.kill()
    redis.start()
    for payout in [redis_service.post() for _ in range(8)]:
        redis_service.wait_for(payout, "COMPLETED")
    run = redis_service.manage("check_worker")
    assert run.returncode == 0, run.stderr
    assert redis_service.stop(worker) == 0
    assert "known-to-redis" not in redis_service.output()


def test_a_frozen_redis_loses_no_payout(redis_service, redis):
    redis_service.environment["PAYOUT_RECOVERY_INTERVAL"] = "0.5"
    redis_service.start_api()
    redis_service.start_worker()
    redis_service.wait_for(redis_service.post(), "COMPLETED")
    redis.signal(signal.SIGSTOP)
    for payout in [redis_service.post() for _ in range(20)]:
        redis_service.wait_for(payout, "COMPLETED")
    warnings = wait_until(lambda: redis_service.log_lines(logger="payouts.bell", level="WARNING"))
    assert warnings[0]["message"].startswith("the broker takes no message, recovery will pay instead: ")
    assert "payouts_bell_failures_total 20.0" in call("GET", f"{redis_service.base}/metrics").body.decode()


def test_a_full_redis_makes_a_worker_leak_no_connection(redis_service, redis):
    redis.fill()
    redis_service.start_worker()
    wait_until(lambda: len(redis_service.log_lines(logger="celery.worker.consumer.consumer")) > 12)
    redis.empty()
    wait_until(lambda: redis_service.log_lines(logger="celery.apps.worker"))
    assert redis.census()["connections to Redis"] < 8


def test_a_worker_refuses_a_redis_whose_certificate_it_does_not_know(own_service, certificate, request):
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
