#!/bin/sh
# The init container: applies the migrations, once, however many replicas start it.
set -eu
cd "$(dirname "$0")/src"
# A migration in hand is finished, not torn: SIGTERM is ignored, and exit code 0 always means "migrated".
trap '' TERM
exec python manage.py migrate --noinput
