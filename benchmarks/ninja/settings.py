"""The tutorial's, with what a person who cares for speed would change: a pool, and the middleware that an API needs."""

from benchmarks.tutorial.settings import *  # noqa: F403
from benchmarks.tutorial.settings import DATABASES

DATABASES["default"]["OPTIONS"] = {"pool": True}
INSTALLED_APPS = ["django.contrib.contenttypes", "ninja", "benchmarks.tutorial"]
MIDDLEWARE = ["benchmarks.tutorial.views.request_id", "django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = "benchmarks.ninja.urls"
