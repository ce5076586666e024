import gc

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

from runtime.database import require_database

application = get_wsgi_application()
require_database()
# Imported before Gunicorn forks: its processes share the memory, and no first request waits for the import.
get_resolver().url_patterns  # noqa: B018
# The rows of a list stay in memory until a full collection, because request and response refer to each other. Python
# puts a full collection off until there is a quarter more than after the last one. So what stays for good is not
# counted, and Python looks more often. That saves 5 to 10 MB.
gc.collect()
gc.freeze()
gc.set_threshold(1000, 5, 5)
