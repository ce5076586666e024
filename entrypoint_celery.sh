#!/bin/sh
# The worker: pays what its messages announce, CELERY_CONCURRENCY payouts at a time, and what recovery finds due.
set -eu
cd "$(dirname "$0")/src"
export PAYOUTS_PROCESS=worker
# Celery's command line takes these for settings of its own.
unset BROKER_URL RESULT_BACKEND LOADER CONFIG_MODULE
# `python -m` puts this folder on the path. The command `celery` does not, so it finds no module but the first.
exec python -m celery --quiet -A config.celery worker \
    --pool=threads \
    --loglevel=info \
    --without-gossip --without-mingle --without-heartbeat
