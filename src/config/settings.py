"""Everything that can be set, read from the environment and from `.env` beside `src`."""

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from celery.app.backends import BACKEND_ALIASES
from corsheaders.defaults import default_headers
from django.utils.translation import gettext_lazy
from kombu.transport import TRANSPORT_ALIASES

from config.env import Env
from config.routes import PROVIDERS, read_http_gateway, read_provider, read_routes
from runtime.start import stop_start

DAY = 86_400
SRC = Path(__file__).resolve().parent.parent
env = Env(SRC.parent / ".env")

DEBUG = env.flag("DEBUG", default=False)
SECRET_KEY = env("SECRET_KEY", default="insecure, for DEBUG only" if DEBUG else env.NOTSET)
ALLOWED_HOSTS = env.parts_of("ALLOWED_HOSTS", r"[^/\s]+", "localhost", "127.0.0.1", "[::1]")
LANGUAGES = [("en", "English"), ("ru", "Русский")]
LANGUAGE_CODE = env.one_of("LANGUAGE_CODE", "en", *dict(LANGUAGES))
TIME_ZONE = str(env.get_value("TIME_ZONE", cast=ZoneInfo, default="UTC"))
ORIGIN = r"https?://[^/\s]+"
CSRF_TRUSTED_ORIGINS = env.parts_of("CSRF_TRUSTED_ORIGINS", ORIGIN)
CORS_ALLOWED_ORIGINS = env.parts_of("CORS_ALLOWED_ORIGINS", ORIGIN)
CORS_ALLOW_HEADERS = (*default_headers, "idempotency-key", "x-request-id")
CORS_EXPOSE_HEADERS = ("idempotent-replayed", "location", "retry-after", "x-request-id")

INSTALLED_APPS = [
    # First, so that our `migrate` wins over Django's, and our start page of the admin over Unfold's.
    "runtime",
    "callers",
    "payouts",
    "unfold",
    "unfold.contrib.filters",
    # "Simple", so that only the URLs import the admin. A worker has no use for it.
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.staticfiles",
    "corsheaders",
    "rest_framework",
    "drf_yasg",
]
MIDDLEWARE = [
    "runtime.requests.observe_requests",
    "runtime.requests.skip_sessions_for_api_clients",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    *(["corsheaders.middleware.CorsMiddleware"] if CORS_ALLOWED_ORIGINS else []),
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "config.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
LOCALE_PATHS = [SRC / "locale"]
STATIC_URL = "static/"
STATIC_ROOT = SRC / "static"
STORAGES = {"staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"}}
# Without `collectstatic`, as everywhere but in the image, the files are taken from where the packages have them.
WHITENOISE_USE_FINDERS = not STATIC_ROOT.exists()

# TLS ends at the ingress. It redirects to HTTPS, and only its owner knows whether its whole domain is HTTPS.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W008", "security.W021"]
# The admin looks for three middlewares by name. `skip_sessions_for_api_clients` contains them.
SILENCED_SYSTEM_CHECKS += ["admin.E408", "admin.E409", "admin.E410"]
SECURE_HSTS_SECONDS = env.between("SECURE_HSTS_SECONDS", 0 if DEBUG else 31_536_000, 0, 2**31)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG
SESSION_COOKIE_AGE = 12 * 60 * 60
CSRF_FAILURE_VIEW = "callers.sessions.refuse_forgery"
# So many proxies of ours are believed about a request's origin and protocol.
NUM_PROXIES = env.between("NUM_PROXIES", 0, 0, 100)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if NUM_PROXIES else None

API_AUTH = env.one_of("API_AUTH", "open" if DEBUG else "required", "required", "open")
DOCS_AUTH = env.one_of("DOCS_AUTH", "open", "required", "open")
AUTHENTICATION_BACKENDS = ["callers.passwords.PasswordBackend"]
AUTH_PASSWORD_VALIDATORS = [{"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"}]
LOGIN_REDIRECT_URL = "admin:index"

DATABASE: dict[str, Any] = (
    env.get_value("DATABASE_URL", cast=env.db_url_config)
    if env.url_of("DATABASE_URL", "", "postgresql", "postgres")
    else {
        "NAME": env("DB_NAME", default="payouts"),
        "USER": env("DB_USER", default="payouts"),
        "PASSWORD": env("DB_PASSWORD", default=""),
        "HOST": env("DB_HOST", default="localhost"),
        "PORT": env.between("DB_PORT", 5432, 1, 65535),
    }
)
# Set here, because a server or a role may have other defaults: commits that a crash loses, another isolation, dates
# that nobody can parse.
REQUIRED_OPTIONS = (
    r"-c synchronous_commit=on -c default_transaction_isolation=read\ committed"
    " -c datestyle=ISO -c intervalstyle=postgres"
)
# Pages are in memory or on an SSD, and splitting a text into words costs more than PostgreSQL expects. With its own
# costs a search among ten million comments takes half a second. No request may use more than one of its processes.
PLANS = "-c max_parallel_workers_per_gather=0 -c random_page_cost=1.1 -c cpu_operator_cost=0.005"
# What each kind of process is called in traces, and the default of its PGOPTIONS. Its entry point names the kind.
PROCESSES = {
    "api": ("payouts-api", f"-c statement_timeout=2s {PLANS}"),
    "worker": ("payouts-worker", "-c statement_timeout=10s"),
    "command": ("", ""),
}
PROCESS_NAME, PROCESS_OPTIONS = PROCESSES[os.environ.get("PAYOUTS_PROCESS", "command")]
URL_OPTIONS = DATABASE.get("OPTIONS", {})
PGOPTIONS = URL_OPTIONS.get("options") or env("PGOPTIONS", default=PROCESS_OPTIONS)
DATABASE["OPTIONS"] = URL_OPTIONS | {
    "options": f"{REQUIRED_OPTIONS} {PGOPTIONS}",
    "connect_timeout": 3,
    # A server whose machine is gone says nothing. Without these the system waits a quarter of an hour for it.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "tcp_user_timeout": 10_000,
    # Each connection plans a repeated statement only once. That saves a quarter of PostgreSQL's work for a payout.
    "server_side_binding": True,
    "prepare_threshold": 5 if env.flag("DB_PREPARED_STATEMENTS", default=True) else None,
}
DATABASES = {"default": DATABASE | {"ENGINE": "runtime.postgresql"}}
# How many connections to PostgreSQL a process has at most. Its threads, which may be hundreds, share them.
DB_CONNECTIONS = env.between("DB_CONNECTIONS", 8, 1, 1000)
ONE_CORE = env.flag("ONE_CORE", default=True)

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "callers.tokens.TokenAuthentication",
        "rest_framework.authentication.BasicAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["callers.permissions.IsCaller"],
    "NUM_PROXIES": NUM_PROXIES,
    "DEFAULT_PARSER_CLASSES": ["runtime.rest.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["runtime.rest.JSONRenderer"],
    "EXCEPTION_HANDLER": "runtime.errors.exception_handler",
}
UNFOLD = {
    "SITE_TITLE": gettext_lazy("Payouts"),
    "SITE_HEADER": gettext_lazy("Payouts"),
    "SITE_SYMBOL": "payments",
    "SITE_URL": None,
    "SITE_FAVICONS": [{"rel": "icon", "href": "data:,"}],
    "DASHBOARD_CALLBACK": "payouts.admin.start_page.dashboard",
}

SWAGGER_USE_COMPAT_RENDERERS = False
SWAGGER_SETTINGS: Any = {
    "USE_SESSION_AUTH": False,
    # Without this the page sends the document to a stranger, who says whether it is valid.
    "VALIDATOR_URL": None,
    "DEFAULT_MODEL_RENDERING": "example",
    "SECURITY_DEFINITIONS": {
        "token": {"type": "apiKey", "in": "header", "name": "Authorization", "description": "`Token`, space, token"},
        "password": {"type": "basic"},
    },
    # None lists all of the above. Where nobody has to call with a token, a wrong token is a 401 all the same.
    "SECURITY_REQUIREMENTS": None if API_AUTH == "required" else [],
    "DEFAULT_INFO": "payouts.api.openapi.info",
    "DEFAULT_AUTO_SCHEMA_CLASS": "payouts.api.openapi.AutoSchema",
}

CELERY_BROKER_URL = env.broker_url(
    "CELERY_BROKER_URL", "amqp://guest:guest@localhost:5672//", "amqp", *TRANSPORT_ALIASES
)
CELERY_RESULT_BACKEND = env.url_of("CELERY_RESULT_BACKEND", "rpc://", "rpc", *BACKEND_ALIASES)
CELERY_TASK_TRACK_STARTED = env.flag("CELERY_TASK_TRACK_STARTED", default=False)
CELERY_TASK_TIME_LIMIT = env.int("CELERY_TASK_TIME_LIMIT", None)
CELERY_WORKER_CONCURRENCY = env.between("CELERY_CONCURRENCY", 64, 1, 1000)
# No more messages than threads: one that waits here might find a free thread in another worker, and what recovery has
# claimed would wait behind it.
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_IMPORTS = ["payouts.recovery"]
CELERY_WORKER_CONSUMER = "runtime.consumer:Consumer"
CELERY_TASK_DEFAULT_QUEUE = env("CELERY_TASK_DEFAULT_QUEUE", default="payouts")
# Nobody reads the result of a payout's task, and unread results pile up in the reply queues of rpc://.
CELERY_TASK_IGNORE_RESULT = True
# A message outlives a worker that dies while it handles the message.
CELERY_TASK_ACKS_LATE = True
# Without a retry `check_worker` says at once that the broker is away.
CELERY_TASK_PUBLISH_RETRY = False
# After a lost connection, pool threads would restore the prefetch count on the socket that the main thread reads.
CELERY_WORKER_ENABLE_PREFETCH_COUNT_REDUCTION = False
# Threads cannot be cancelled. The guarded UPDATEs make a second delivery harmless.
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
# The queue of remote control refuses a second worker of the same name, and RabbitMQ 4.3 refuses that queue.
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
# A connection that is swallowed without a word is noticed after two or three of these.
CELERY_BROKER_HEARTBEAT = 6
# A worker outlasts any outage of the broker.
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_CHANNEL_ERROR_RETRY = True
# The worker's log is set by LOGGING, too.
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_REDIRECT_STDOUTS = False
# No retries here: the API does not wait for a broker that refuses, and a worker has its own, endless retries.
CELERY_BROKER_TRANSPORT_OPTIONS: Any = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
if CELERY_BROKER_URL.startswith("filesystem://"):
    folder = urlsplit(CELERY_BROKER_URL).path
    CELERY_BROKER_TRANSPORT = "runtime.filesystem:Transport"
    CELERY_BROKER_TRANSPORT_OPTIONS |= {
        "data_folder_in": folder,
        "data_folder_out": folder,
        "control_folder": f"{folder}/control",
        "polling_interval": 0.1,
    }
if CELERY_BROKER_URL.startswith("amqp"):
    # A worker that stops says goodbye to the broker. Without these it waits for a silent one without end.
    CELERY_BROKER_TRANSPORT_OPTIONS |= {"read_timeout": 3, "write_timeout": 3}
if CELERY_BROKER_URL.startswith("amqps"):
    # Without this a certificate of any other name would do.
    CELERY_BROKER_USE_SSL: Any = {"server_hostname": urlsplit(CELERY_BROKER_URL).hostname}
if CELERY_BROKER_URL.startswith("redis"):
    # Without these a worker waits for a silent server without end.
    CELERY_BROKER_TRANSPORT_OPTIONS |= {"socket_timeout": 5, "socket_connect_timeout": 5}
if CELERY_BROKER_URL.startswith("rediss"):
    # Without this any certificate would do.
    CELERY_BROKER_USE_SSL = {"ssl_cert_reqs": "required"}

PAYOUT_GATEWAY = env(
    "PAYOUT_GATEWAY", default="http" if env.http_url("PAYOUT_GATEWAY_URL") else "sandbox" if DEBUG else ""
)
PAYOUT_ROUTES = read_routes(env, PAYOUT_GATEWAY)
# No payout takes these any more, but their providers may have money to give back.
PAYOUT_RETIRED_ROUTES = env.parts_of("PAYOUT_RETIRED_ROUTES", r"[^:\s]+")
route_kinds = {name: name.partition(".")[0] for name in (*PAYOUT_ROUTES.values(), *PAYOUT_RETIRED_ROUTES)}
PAYOUT_HTTP_GATEWAYS = {name: read_http_gateway(env, name) for name, kind in route_kinds.items() if kind == "http"}
pays = PROCESS_NAME == "payouts-worker"
PAYOUT_PROVIDERS = {
    name: read_provider(env, name, pays=pays) for name, kind in route_kinds.items() if kind in PROVIDERS
}
PAYOUT_GATEWAY_TIMEOUT = env.between("PAYOUT_GATEWAY_TIMEOUT", 20, 0.01, DAY)
# How many calls of one process may ask one route. Where there are several, a quarter is left for the others.
CALLS_OF_ONE = CELERY_WORKER_CONCURRENCY - CELERY_WORKER_CONCURRENCY // 4
PAYOUT_ROUTE_CALLS = env.between(
    "PAYOUT_ROUTE_CALLS", CALLS_OF_ONE if len({*PAYOUT_ROUTES.values()}) > 1 else 1000, 1, 1000
)
PAYOUT_LEASE = timedelta(seconds=env.between("PAYOUT_LEASE", 60, 0.01, DAY))
PAYOUT_RECOVERY_INTERVAL = timedelta(seconds=env.between("PAYOUT_RECOVERY_INTERVAL", 10, 0.01, DAY))
SANDBOX_DELAY = env.between("SANDBOX_DELAY", 0, 0.0, PAYOUT_GATEWAY_TIMEOUT)
SANDBOX_FAILURE_RATE = env.between("SANDBOX_FAILURE_RATE", 0, 0.0, 1)
for timeout in (PAYOUT_GATEWAY_TIMEOUT, *(options["timeout"] for options in PAYOUT_HTTP_GATEWAYS.values())):
    if PAYOUT_LEASE.total_seconds() < 2 * timeout:
        stop_start("PAYOUT_LEASE", "it is shorter than twice PAYOUT_GATEWAY_TIMEOUT")
if any(options["remembers"] <= PAYOUT_LEASE for options in PAYOUT_HTTP_GATEWAYS.values()):
    stop_start("PAYOUT_GATEWAY_REMEMBERS", "it is not longer than PAYOUT_LEASE, so nothing could ever be sent")

# Where they are empty, runtime.telemetry imports nothing.
OTEL_EXPORTER_OTLP_ENDPOINT = env.http_url("OTEL_EXPORTER_OTLP_ENDPOINT")
OTEL_SERVICE_NAME = env("OTEL_SERVICE_NAME", default=PROCESS_NAME)
SENTRY_DSN = env.http_url("SENTRY_DSN")
METRICS_TOKEN = env("METRICS_TOKEN", default="")
METRICS_PORT = env.between("METRICS_PORT", 0, 0, 65535)
LOG_FORMAT = env.one_of("LOG_FORMAT", "text" if sys.stdout.isatty() else "json", "json", "text")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "runtime.logs.Formatter", "text": LOG_FORMAT == "text"}},
    "handlers": {"stdout": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "line"}},
    "root": {"handlers": ["stdout"], "level": "INFO"},
    "loggers": {
        "gunicorn.error": {"handlers": [], "propagate": True},
        # The access log and the payout's own lines already contain it.
        "django": {"handlers": [], "level": "INFO"},
        "django.request": {"level": "ERROR"},
        "django.security.DisallowedHost": {"level": "CRITICAL"},
        # Django gives the answer to a HEAD a body. Gunicorn drops the body, and warns each time.
        "gunicorn.http.wsgi": {"level": "ERROR"},
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        # Whenever the broker goes away, Celery explains in twelve lines that threads are not cancelled.
        "py.warnings": {"level": "ERROR"},
    },
}
