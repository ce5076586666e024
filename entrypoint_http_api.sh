#!/bin/sh
# The API: Gunicorn with WEB_CONCURRENCY processes of API_THREADS threads on API_HOST:PORT.
set -eu
cd "$(dirname "$0")/src"
export PAYOUTS_PROCESS=api
# Gunicorn reads WEB_CONCURRENCY before its configuration, and what is no number would be a traceback.
case "${WEB_CONCURRENCY:=2}" in
    *[!0-9]*) echo "The setting WEB_CONCURRENCY cannot be used: it is not a number" && exit 1 ;;
esac
exec gunicorn --config python:config.gunicorn config.wsgi:application
