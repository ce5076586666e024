from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

from config.health import require_database

application = get_wsgi_application()
require_database()
# Imported before Gunicorn forks: shared by its processes, and no first request waits for it.
get_resolver().url_patterns  # noqa: B018
