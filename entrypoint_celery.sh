#!/bin/sh
# The worker: pays what the bell or the clock brings, CELERY_CONCURRENCY payouts at a time.
set -eu
cd "$(dirname "$0")/src"
case "${CELERY_CONCURRENCY:-4}" in
    *[!0-9]* | 0) echo "The setting CELERY_CONCURRENCY cannot be used: it is not a positive number" && exit 1 ;;
esac
# Recovery has eight threads, and metrics are asked for too.
export DB_POOL_SIZE="${DB_POOL_SIZE:-$((${CELERY_CONCURRENCY:-4} + 10))}"
export OTEL_SERVICE_NAME="${OTEL_SERVICE_NAME:-payouts-worker}"
export PGOPTIONS="${PGOPTIONS:--c statement_timeout=10s}"
exec celery --quiet -A config.celery worker \
    --pool=threads \
    --concurrency="${CELERY_CONCURRENCY:-4}" \
    --loglevel=info \
    --without-gossip --without-mingle --without-heartbeat
