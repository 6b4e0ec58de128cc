"""Settings of the service: every variable of docs/configuration.md is a setting of the same name."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from config.environment import choice, database, integer, key, load_file, require, text, words, yes_or_no
from messaging.delivery.encryption import channel_layer_key

BASE_DIR = Path(__file__).resolve().parent.parent

load_file(BASE_DIR / ".env")
require("SECRET_KEY", "JWT_SECRET", "CHAT_ENCRYPTION_KEY")

# Secrets and tokens.
SECRET_KEY = text("SECRET_KEY")
JWT_SECRET = text("JWT_SECRET")
JWT_ALGORITHM = text("JWT_ALGORITHM") or "HS256"
JWT_PUBLIC_KEY = key("JWT_PUBLIC_KEY")  # PEM; empty unless issuers sign with RS256 or ES256
JWT_JWKS_URL = text("JWT_JWKS_URL")  # empty unless the issuer publishes its keys
CHAT_ENCRYPTION_KEYS = words("CHAT_ENCRYPTION_KEY")  # the first encrypts, all decrypt
DEMO_PASSWORD = text("DEMO_PASSWORD")  # of the users that demo_data creates; empty: a random one each time
METRICS_TOKEN = text("METRICS_TOKEN")  # empty: /metrics is open

# Who may reach the service.
DEBUG = yes_or_no("DEBUG", default=False)
ALLOWED_HOSTS = words("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
ALLOWED_ORIGINS = words("ALLOWED_ORIGINS")  # empty: browsers of the same origin only
TRUSTED_PROXIES = words("TRUSTED_PROXIES")  # addresses or networks whose X-Forwarded-For is believed

# Where the server listens, and with how many workers.
REDIS_URL = words("REDIS_URL")  # empty: in-memory channel layer and cache
HOST = text("HOST") or "127.0.0.1"
PORT = integer("PORT", 8000)
WEB_CONCURRENCY = integer("WEB_CONCURRENCY", 1)  # more than one is refused for now

# Limits; 0 switches those off that the documentation says so of.
MAX_CONNECTIONS = integer("MAX_CONNECTIONS", 10_000)
MAX_CONNECTIONS_PER_IP = integer("MAX_CONNECTIONS_PER_IP", 100)
MAX_PAYLOAD_SIZE = integer("MAX_PAYLOAD_SIZE", 1_048_576)  # bytes
MAX_MESSAGE_LENGTH = integer("MAX_MESSAGE_LENGTH", 5_000)  # characters
MESSAGE_RATE_LIMIT = integer("MESSAGE_RATE_LIMIT", 240)  # a minute and user
IP_RATE_LIMIT = integer("IP_RATE_LIMIT", 3_000)  # in 15 minutes and IP
MEMORY_LIMIT_MB = integer("MEMORY_LIMIT_MB", 512)

# Times, in seconds.
AUTH_TIMEOUT = integer("AUTH_TIMEOUT", 30)
CONNECTION_TIMEOUT = integer("CONNECTION_TIMEOUT", 300)
KEEP_ALIVE_TIMEOUT = integer("KEEP_ALIVE_TIMEOUT", 60)
OFFLINE_GRACE_PERIOD = integer("OFFLINE_GRACE_PERIOD", 60)
EDIT_WINDOW = integer("EDIT_WINDOW", 300)

# Policies.
SESSION_POLICY = choice("SESSION_POLICY", ["multi", "single"])
# Whose content admins may read in Django admin; each look is logged.
ADMIN_READS = choice("ADMIN_READS", ["none", "communities", "groups", "all"])
PRESENCE_SCOPE = choice("PRESENCE_SCOPE", ["contacts", "everyone"])

# The database. The connections of a worker are kept by its threads, so Django's own pool stays off.
DB_MAX_CONNECTIONS = integer("DB_MAX_CONNECTIONS", 10)
DB_MIN_CONNECTIONS = integer("DB_MIN_CONNECTIONS", 2)
DB_IDLE_TIMEOUT = integer("DB_IDLE_TIMEOUT", 30)  # seconds
DB_CONNECTION_TIMEOUT = integer("DB_CONNECTION_TIMEOUT", 2)  # seconds
DB_STATEMENT_TIMEOUT = integer("DB_STATEMENT_TIMEOUT", 30)  # seconds

_SQLITE_OPTIONS: dict[str, Any] = {
    # SQLite ignores row locks; a transaction that takes the write lock at its beginning cannot fail half-way.
    "transaction_mode": "IMMEDIATE",
    "timeout": 5,
    # FULL syncs at each commit: in WAL mode NORMAL may lose confirmed messages with the power.
    "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;",
}
_POSTGRESQL_OPTIONS: dict[str, Any] = {
    "connect_timeout": DB_CONNECTION_TIMEOUT,
    "options": f"-c statement_timeout={DB_STATEMENT_TIMEOUT * 1000}",
    # A server that vanished without a word is noticed after 10 + 3 * 5 seconds instead of two hours.
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


def _default_database() -> dict[str, Any]:
    """The database of DATABASE_URL, whose own options go before ours."""
    described = database("DATABASE_URL", f"sqlite:///{BASE_DIR / 'db.sqlite3'}")
    ours = _SQLITE_OPTIONS if described["ENGINE"].endswith("sqlite3") else _POSTGRESQL_OPTIONS
    return {**described, "CONN_MAX_AGE": None, "OPTIONS": {**ours, **described.get("OPTIONS", {})}}


DATABASE_IS_EMBEDDED = not text("DATABASE_URL")  # the SQLite file beside manage.py
DATABASES = {"default": _default_database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# News between workers, and the cache. Nothing that must not be lost is in either.
CHANNEL_LAYERS: dict[str, dict[str, Any]]
CACHES: dict[str, dict[str, Any]]
if REDIS_URL:
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {
                "hosts": REDIS_URL,
                "prefix": "chat",
                "symmetric_encryption_keys": [channel_layer_key(secret) for secret in CHAT_ENCRYPTION_KEYS],
            },
        }
    }
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            # Only the first: Django would take further ones for replicas of it.
            "LOCATION": REDIS_URL[0],
            "KEY_PREFIX": "chat",
            # A cache that answers later than this is slower than the database.
            "OPTIONS": {
                "socket_timeout": 0.2,
                "socket_connect_timeout": 0.2,
                "serializer": "messaging.delivery.cache.PlainValues",
            },
        }
    }
else:
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    # 300 entries, the default, would evict counters of failed logins.
    CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "OPTIONS": {"MAX_ENTRIES": 20_000}}
    }

INSTALLED_APPS = [
    "daphne",  # first: it replaces runserver
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "rest_framework_simplejwt.token_blacklist",
    "channels",
    "config",
    "messaging",
    "groups",
    "presence",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
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
ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en"
USE_TZ = True
TIME_ZONE = "UTC"

# Headers and cookies. TLS ends at a proxy: once one is named, cookies travel only over https and its word for the
# scheme counts.
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = bool(TRUSTED_PROXIES)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None

REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    # Closed unless a view says otherwise.
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
}
SIMPLE_JWT = {
    "ALGORITHM": "HS256",  # tokens of our own are signed with JWT_SECRET, whatever other issuers sign with
    "SIGNING_KEY": JWT_SECRET,
    "USER_ID_CLAIM": "sub",
    "JTI_CLAIM": "jti",
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=60),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=14),
}

LOG_LEVEL = choice("LOG_LEVEL", ["INFO", "DEBUG", "WARNING", "ERROR", "CRITICAL"])
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "config.logs.LineFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    # Django's own handlers (a console only for DEBUG, mail to admins) give way to the one above.
    "loggers": {"django": {"handlers": [], "level": LOG_LEVEL, "propagate": True}},
}
