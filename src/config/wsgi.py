import gc

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

from config.health import require_database

application = get_wsgi_application()
require_database()
# Imported before Gunicorn forks: shared by its processes, and no first request waits for it.
get_resolver().url_patterns  # noqa: B018
# The rows of a list hang in a cycle of request and response until a full collection, which Python puts off until there
# is a quarter more than it found last time. Not counting what stays for good, and looking more often, saves 5 to 10 MB.
gc.collect()
gc.freeze()
gc.set_threshold(1000, 5, 5)
