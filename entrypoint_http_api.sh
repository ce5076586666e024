#!/bin/sh
# The API: Gunicorn with WEB_CONCURRENCY processes of API_THREADS threads on API_HOST:PORT.
set -eu
cd "$(dirname "$0")/src"
case ",${WEB_CONCURRENCY:-2},${API_THREADS:-4},${PORT:-8080}" in
    *[!0-9,]* | *,0*)
        echo "The settings WEB_CONCURRENCY, API_THREADS and PORT cannot be used: they are not all positive numbers" && exit 1 ;;
esac
# Gunicorn touches a file for each heartbeat; on a disk that can hang a worker.
if [ -w /dev/shm ]; then memory=/dev/shm; else memory=/tmp; fi
# Its processes count together for /metrics, in files too.
export PROMETHEUS_MULTIPROC_DIR="${METRICS_FOLDER:-$memory/payouts-metrics-${PORT:-8080}}"
mkdir -p "$PROMETHEUS_MULTIPROC_DIR"
rm -f "$PROMETHEUS_MULTIPROC_DIR"/*.db
export DB_POOL_SIZE="${DB_POOL_SIZE:-${API_THREADS:-4}}"
export OTEL_SERVICE_NAME="${OTEL_SERVICE_NAME:-payouts-api}"
# No request may keep PostgreSQL busy for long, nor more than one process of it; a list that would is refused.
# Pages are in memory or on an SSD, and to split a text into words costs more than PostgreSQL thinks: without this a
# search among ten million comments takes half a second.
plans="-c max_parallel_workers_per_gather=0 -c random_page_cost=1.1 -c cpu_operator_cost=0.005"
export PGOPTIONS="${PGOPTIONS:--c statement_timeout=2s $plans}"
exec gunicorn config.wsgi:application \
    --config python:config.gunicorn \
    --bind "${API_HOST:-0.0.0.0}:${PORT:-8080}" \
    --workers "${WEB_CONCURRENCY:-2}" \
    --threads "${API_THREADS:-4}" \
    --preload \
    --no-control-socket \
    --worker-tmp-dir "$memory"
