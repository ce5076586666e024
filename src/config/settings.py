"""Everything that can be set, read from the environment and from `.env` beside `src`."""

import os
import re
import sys
from datetime import timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import environ
from celery.app.backends import BACKEND_ALIASES
from celery.utils.serialization import strtobool
from corsheaders.defaults import default_headers
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy
from kombu import Connection
from kombu.transport import TRANSPORT_ALIASES


def refuse(setting: str, why: object) -> NoReturn:
    sys.exit(f"The setting {setting} cannot be used: {why}")


NO_URL = "it is not a URL; in a password / # ? % @ and the like are written as %2F and so on"


class Env(environ.Env):
    """Stops the start with one line when a setting is missing or unusable. An empty one is a missing one."""

    def get_value(self, var: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().get_value(var, *args, **kwargs)
        except (ImportError, ImproperlyConfigured, LookupError, TypeError, ValueError) as error:
            # What a URL's error quotes is a part of its password.
            refuse(var, NO_URL if isinstance(error, ValueError) and var.endswith("_URL") else error)

    def url_of(self, var: str, default: str, *schemes: str) -> str:
        url: str = self(var, default=default)
        if url and not url.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            refuse(var, f"it does not begin with {schemes[0]}://")
        return url

    def http_url(self, var: str) -> str:
        def checked(url: str) -> str:
            parts = urlsplit(url)
            if not re.fullmatch(r"https?://[!-~]+", url) or not parts.hostname or parts.port == 0:
                raise ValueError(NO_URL)
            return url

        return str(self.get_value(var, cast=checked, default=""))

    def parts_of(self, var: str, form: str, *default: str) -> list[str]:
        """What is between its commas."""
        parts = [part.strip() for part in self.list(var, default=default)]
        if not all(re.fullmatch(form, part) for part in parts):
            refuse(var, f"not all of it is like {form}")
        return parts

    def one_of(self, var: str, default: str, *values: str) -> str:
        value: str = self(var, default=default)
        if value not in values:
            refuse(var, f"it is none of {', '.join(values)}")
        return value

    def between(self, var: str, default: Any, least: float, most: float) -> Any:
        # `partial`, because environ reads 1e3 as 13 where the cast is a bare float. The type of `least` decides.
        value = self.get_value(var, cast=partial(type(least)), default=default)
        if not least <= value <= most:
            refuse(var, f"it is not between {least} and {most}")
        return value


DAY = 86_400
SRC = Path(__file__).resolve().parent.parent
env = Env()
env.read_env(SRC.parent / ".env")
# Escaped, because environ would read a password that begins with $ as the name of another variable.
env.ENVIRON = {name: value.replace("$", r"\$") for name, value in os.environ.items() if value}
env.escape_proxy = True

# Not env.bool, which takes everything that it does not know, even a typing error, for False.
DEBUG = env.get_value("DEBUG", cast=strtobool, default=False)
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
    "payouts",
    "unfold",
    "unfold.contrib.filters",
    # "Simple", so that the URLs import the admin: a worker has no use for it.
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
    "config.metrics.middleware",
    "config.api.for_people",
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

# TLS ends at the ingress: it redirects, and whether its whole domain is HTTPS is not ours to say.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W008", "security.W021"]
# The admin looks for three middlewares by name; they are in `for_people`.
SILENCED_SYSTEM_CHECKS += ["admin.E408", "admin.E409", "admin.E410"]
SECURE_HSTS_SECONDS = env.between("SECURE_HSTS_SECONDS", 0 if DEBUG else 31_536_000, 0, 2**31)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG
SESSION_COOKIE_AGE = 12 * 60 * 60
CSRF_FAILURE_VIEW = "config.authentication.forged"
# Only this many proxies of ours are believed about whom a request comes from, and by which protocol.
NUM_PROXIES = env.between("NUM_PROXIES", 0, 0, 100)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if NUM_PROXIES else None

API_AUTH = env.one_of("API_AUTH", "open" if DEBUG else "required", "required", "open")
DOCS_AUTH = env.one_of("DOCS_AUTH", "open", "required", "open")
AUTHENTICATION_BACKENDS = ["config.authentication.PasswordBackend"]
AUTH_PASSWORD_VALIDATORS = [{"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"}]
LOGIN_REDIRECT_URL = "admin:index"
SESSION_ENGINE = "config.authentication"

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
# A server or role may have it otherwise: commits that a crash loses, conflicts of other kinds, dates that nobody reads.
RELIED_ON = (
    r"-c synchronous_commit=on -c default_transaction_isolation=read\ committed"
    " -c datestyle=ISO -c intervalstyle=postgres"
)
URL_OPTIONS = DATABASE.get("OPTIONS", {})
PGOPTIONS = URL_OPTIONS.get("options") or env("PGOPTIONS", default="")
DATABASE["OPTIONS"] = URL_OPTIONS | {
    "options": f"{RELIED_ON} {PGOPTIONS}",
    "connect_timeout": 3,
    # A server whose machine is gone says nothing; the system would wait a quarter of an hour for it.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "tcp_user_timeout": 10_000,
    # Each connection plans a repeated statement only once, which saves a quarter of PostgreSQL's work for a payout.
    "server_side_binding": True,
    "prepare_threshold": 5 if env.get_value("DB_PREPARED_STATEMENTS", cast=strtobool, default=True) else None,
}
# Each thread keeps its connection, and looks at it before it uses it again.
DATABASES = {"default": DATABASE | {"ENGINE": "config.postgresql", "CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}}


def set_process_defaults(name: str, options: str) -> None:
    """Sets what differs between the API and a worker, where the environment does not."""
    os.environ["OTEL_SERVICE_NAME"] = env("OTEL_SERVICE_NAME", default=name)
    DATABASE["OPTIONS"]["options"] = f"{RELIED_ON} {PGOPTIONS or options}"


ONE_CORE = env.get_value("ONE_CORE", cast=strtobool, default=True)

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "config.authentication.ByToken",
        "rest_framework.authentication.BasicAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["config.authentication.IsCaller"],
    "NUM_PROXIES": NUM_PROXIES,
    "DEFAULT_PARSER_CLASSES": ["config.api.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["config.api.JSONRenderer"],
    "EXCEPTION_HANDLER": "config.errors.exception_handler",
}
UNFOLD = {
    "SITE_TITLE": gettext_lazy("Payouts"),
    "SITE_HEADER": gettext_lazy("Payouts"),
    "SITE_SYMBOL": "payments",
    "SITE_URL": None,
    "SITE_FAVICONS": [{"rel": "icon", "href": "data:,"}],
    "DASHBOARD_CALLBACK": "payouts.admin.dashboard",
}

SWAGGER_USE_COMPAT_RENDERERS = False
SWAGGER_SETTINGS: Any = {
    "USE_SESSION_AUTH": False,
    # Otherwise the page shows the document to a stranger, who says whether it is valid.
    "VALIDATOR_URL": None,
    "DEFAULT_MODEL_RENDERING": "example",
    "SECURITY_DEFINITIONS": {
        "token": {"type": "apiKey", "in": "header", "name": "Authorization", "description": "`Token`, space, token"},
        "password": {"type": "basic"},
    },
    # None asks for any of these. A wrong token is a 401 even where none is asked for.
    "SECURITY_REQUIREMENTS": None if API_AUTH == "required" else [],
    "DEFAULT_INFO": "config.openapi.info",
    "DEFAULT_AUTO_SCHEMA_CLASS": "config.openapi.AutoSchema",
}

CELERY_BROKER_URL = env.url_of("CELERY_BROKER_URL", "amqp://guest:guest@localhost:5672//", "amqp", *TRANSPORT_ALIASES)
CELERY_RESULT_BACKEND = env.url_of("CELERY_RESULT_BACKEND", "rpc://", "rpc", *BACKEND_ALIASES)
CELERY_TASK_TRACK_STARTED = env.get_value("CELERY_TASK_TRACK_STARTED", cast=strtobool, default=False)
CELERY_TASK_TIME_LIMIT = env.int("CELERY_TASK_TIME_LIMIT", None)
CELERY_WORKER_CONCURRENCY = env.between("CELERY_CONCURRENCY", 4, 1, 1000)
CELERY_IMPORTS = ["payouts.recovery"]
CELERY_WORKER_CONSUMER = "config.consumer:Consumer"
CELERY_TASK_DEFAULT_QUEUE = env("CELERY_TASK_DEFAULT_QUEUE", default="payouts")
# Nobody reads the result of a payout's task; unread results pile up in rpc:// reply queues.
CELERY_TASK_IGNORE_RESULT = True
# A message outlives the worker that dies with it in hand.
CELERY_TASK_ACKS_LATE = True
# `check_worker` says at once that the broker is away.
CELERY_TASK_PUBLISH_RETRY = False
# After a lost connection, pool threads would restore the prefetch count on the socket that the main thread reads.
CELERY_WORKER_ENABLE_PREFETCH_COUNT_REDUCTION = False
# Threads cannot be cancelled; the guarded UPDATEs make a second delivery harmless.
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
# Remote control's queue refuses a second worker of the same name, and RabbitMQ 4.3 refuses that queue.
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
# A worker outlasts any outage of the broker.
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_CHANNEL_ERROR_RETRY = True
# LOGGING below holds for the worker too.
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_REDIRECT_STDOUTS = False
# Refused once is refused: the bell does not wait, and a worker has its own, endless retries.
CELERY_BROKER_TRANSPORT_OPTIONS: Any = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
if CELERY_BROKER_URL.startswith("filesystem://"):
    folder = urlsplit(CELERY_BROKER_URL).path
    CELERY_BROKER_TRANSPORT_OPTIONS |= {
        "data_folder_in": folder,
        "data_folder_out": folder,
        "control_folder": f"{folder}/control",
        "polling_interval": 0.1,
    }
if CELERY_BROKER_URL.startswith("amqp"):
    # A worker that is told to stop takes its leave of the broker, and would wait for a silent one without end.
    CELERY_BROKER_TRANSPORT_OPTIONS |= {"read_timeout": 3, "write_timeout": 3}
if CELERY_BROKER_URL.startswith("redis"):
    # A cast runs only where the setting is set, and what it raises becomes the one line of `Env`.
    env.get_value("CELERY_BROKER_URL", cast=lambda _url: import_module("redis"))
    # Otherwise a silent server is waited for without end.
    CELERY_BROKER_TRANSPORT_OPTIONS |= {"socket_timeout": 5, "socket_connect_timeout": 5}
    # Otherwise any certificate would do.
    CELERY_BROKER_USE_SSL: Any = {"ssl_cert_reqs": "required"} if CELERY_BROKER_URL.startswith("rediss") else None
if CELERY_BROKER_URL.startswith("amqps"):
    # Otherwise a certificate of any other name would do.
    CELERY_BROKER_USE_SSL = {"server_hostname": urlsplit(CELERY_BROKER_URL).hostname}
env.get_value("CELERY_BROKER_URL", cast=lambda url: Connection(url).transport, default="")

PAYOUT_GATEWAY_URL = env.http_url("PAYOUT_GATEWAY_URL")
PAYOUT_GATEWAY_TOKEN = env("PAYOUT_GATEWAY_TOKEN", default="")
if not (PAYOUT_GATEWAY_TOKEN.isascii() and PAYOUT_GATEWAY_TOKEN.isprintable()):
    # A line break at its end, as files have one, would end the headers of each payment.
    refuse("PAYOUT_GATEWAY_TOKEN", "a header takes printable ASCII only")
PAYOUT_GATEWAY = env("PAYOUT_GATEWAY", default="http" if PAYOUT_GATEWAY_URL else "sandbox" if DEBUG else "")
PAYOUT_GATEWAY_TIMEOUT = env.between("PAYOUT_GATEWAY_TIMEOUT", 20, 0.01, DAY)
PAYOUT_LEASE = timedelta(seconds=env.between("PAYOUT_LEASE", 60, 0.01, DAY))
PAYOUT_RECOVERY_INTERVAL = timedelta(seconds=env.between("PAYOUT_RECOVERY_INTERVAL", 10, 0.01, DAY))
SANDBOX_DELAY = env.between("SANDBOX_DELAY", 0, 0.0, PAYOUT_GATEWAY_TIMEOUT)
SANDBOX_FAILURE_RATE = env.between("SANDBOX_FAILURE_RATE", 0, 0.0, 1)
if PAYOUT_LEASE.total_seconds() < 2 * PAYOUT_GATEWAY_TIMEOUT:
    refuse("PAYOUT_LEASE", "it is shorter than twice PAYOUT_GATEWAY_TIMEOUT")

# Where they are empty, config.telemetry imports nothing.
OTEL_EXPORTER_OTLP_ENDPOINT = env.http_url("OTEL_EXPORTER_OTLP_ENDPOINT")
SENTRY_DSN = env.http_url("SENTRY_DSN")
METRICS_TOKEN = env("METRICS_TOKEN", default="")
METRICS_PORT = env.between("METRICS_PORT", 0, 0, 65535)
LOG_TEXT = env.get_value("LOG_FORMAT", cast={"json": False, "text": True}.__getitem__, default=sys.stdout.isatty())
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "config.tracing.Formatter", "text": LOG_TEXT}},
    "handlers": {"stdout": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "line"}},
    "root": {"handlers": ["stdout"], "level": "INFO"},
    "loggers": {
        "gunicorn.error": {"handlers": [], "propagate": True},
        # The access log and the payout's own lines say it already.
        "django": {"handlers": [], "level": "INFO"},
        "django.request": {"level": "ERROR"},
        "django.security.DisallowedHost": {"level": "CRITICAL"},
        # Django gives a HEAD its body, and Gunicorn drops it.
        "gunicorn.http.wsgi": {"level": "ERROR"},
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        # Whenever the broker goes away, Celery tells in twelve lines what is settled above: threads are not cancelled.
        "py.warnings": {"level": "ERROR"},
    },
}
