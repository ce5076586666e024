#!/bin/sh
# The worker: pays what the bell or the clock brings, CELERY_CONCURRENCY payouts at a time.
set -eu
cd "$(dirname "$0")/src"
export PAYOUTS_PROCESS=worker
# Celery's command line takes these for settings of its own.
unset BROKER_URL RESULT_BACKEND LOADER CONFIG_MODULE
# As a module it finds the service in this folder; the command would look here for the first module alone.
exec python -m celery --quiet -A config.celery worker \
    --pool=threads \
    --loglevel=info \
    --without-gossip --without-mingle --without-heartbeat
