"""System checks that refuse settings under which the service would start and then misbehave.

Each function looks at one matter; each finding has an id, one sentence and a hint that says what to change.
"""

from collections.abc import Iterator, Sequence
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning as CheckWarning, register

_PUBLIC_KEY_ALGORITHMS: dict[str, type] = {"RS256": rsa.RSAPublicKey, "ES256": ec.EllipticCurvePublicKey}
_SECRET_BYTES = 32  # RFC 7518 section 3.2: an HS256 key is no shorter than its hash
_ENCRYPTION_KEY_CHARACTERS = 16
_FEWEST_CONNECTIONS = 4  # one for the writer, one for the checks, two for everything else

# The least sensible value of each number and, where there is one, the greatest.
_RANGES: dict[str, tuple[int, int | None]] = {
    "PORT": (1, 65_535),
    "WEB_CONCURRENCY": (1, 64),
    "MAX_CONNECTIONS": (0, None),
    "MAX_CONNECTIONS_PER_IP": (0, None),
    "MAX_PAYLOAD_SIZE": (1_024, 67_108_864),
    "MAX_MESSAGE_LENGTH": (1, 1_000_000),
    "MESSAGE_RATE_LIMIT": (0, None),
    "IP_RATE_LIMIT": (0, None),
    "MEMORY_LIMIT_MB": (64, None),
    "AUTH_TIMEOUT": (1, None),
    "CONNECTION_TIMEOUT": (1, None),
    "KEEP_ALIVE_TIMEOUT": (1, None),
    "OFFLINE_GRACE_PERIOD": (0, None),
    "EDIT_WINDOW": (0, None),
    "DB_MAX_CONNECTIONS": (_FEWEST_CONNECTIONS, None),
    "DB_MIN_CONNECTIONS": (0, None),
    "DB_IDLE_TIMEOUT": (1, None),
    "DB_CONNECTION_TIMEOUT": (1, None),
    "DB_STATEMENT_TIMEOUT": (1, 86_400),
}


@register()
def secrets_are_strong(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:  # noqa: ARG001
    """Refuse secrets that can be guessed."""
    findings: list[CheckMessage] = []
    if len(settings.JWT_SECRET.encode()) < _SECRET_BYTES:
        findings.append(
            Error(
                f"JWT_SECRET is shorter than {_SECRET_BYTES} bytes.",
                hint="Set the same random value of at least 32 bytes here and at the issuer of the tokens.",
                id="config.E001",
            )
        )
    if any(len(secret) < _ENCRYPTION_KEY_CHARACTERS for secret in settings.CHAT_ENCRYPTION_KEYS):
        findings.append(
            Error(
                f"CHAT_ENCRYPTION_KEY holds a key of less than {_ENCRYPTION_KEY_CHARACTERS} characters.",
                hint="Use long random values, separated by commas where there are several.",
                id="config.E002",
            )
        )
    return findings


@register()
def tokens_can_be_checked(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:  # noqa: ARG001
    """Refuse a token algorithm that is unknown or whose public key is missing or of another kind."""
    algorithm = settings.JWT_ALGORITHM
    if algorithm == "HS256":
        return []
    if algorithm not in _PUBLIC_KEY_ALGORITHMS:
        return [
            Error(
                f"JWT_ALGORITHM is {algorithm!r}, which this service does not check tokens with.",
                hint="Use HS256, RS256 or ES256, whichever the issuer signs with.",
                id="config.E003",
            )
        ]
    if settings.JWT_PUBLIC_KEY:
        return list(_faults_of_public_key(settings.JWT_PUBLIC_KEY, algorithm))
    if not settings.JWT_JWKS_URL:
        return [
            Error(
                f"JWT_ALGORITHM is {algorithm}, but neither JWT_PUBLIC_KEY nor JWT_JWKS_URL is set.",
                hint="Set the issuer's public key in PEM, or the address at which it publishes its keys.",
                id="config.E004",
            )
        ]
    return []


def _faults_of_public_key(pem: str, algorithm: str) -> Iterator[CheckMessage]:
    """What is wrong with the issuer's public key."""
    try:
        public_key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        yield Error(
            "JWT_PUBLIC_KEY is no public key in PEM.",
            hint="Copy it with its BEGIN and END lines; a line end may be written as \\n.",
            id="config.E005",
        )
        return
    if not isinstance(public_key, _PUBLIC_KEY_ALGORITHMS[algorithm]):
        yield Error(
            f"JWT_PUBLIC_KEY is not a key for {algorithm}.",
            hint="RS256 takes an RSA key, ES256 an elliptic curve key.",
            id="config.E006",
        )


@register()
def jwks_address_is_safe(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:  # noqa: ARG001
    """Refuse to fetch the issuer's keys from something that is no web address."""
    address = settings.JWT_JWKS_URL
    if not address or _is_web_address(address):
        return []
    return [
        Error(
            "JWT_JWKS_URL is no web address.",
            hint="Write it as https://issuer.example/.well-known/jwks.json.",
            id="config.E007",
        )
    ]


@register()
def numbers_make_sense(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:  # noqa: ARG001
    """Refuse limits and times out of their range."""
    findings: list[CheckMessage] = []
    for name, (least, greatest) in _RANGES.items():
        value = getattr(settings, name)
        if value < least or (greatest is not None and value > greatest):
            wanted = f"at least {least}" if greatest is None else f"from {least} to {greatest}"
            findings.append(Error(f"{name} is {value}.", hint=f"Use a number {wanted}.", id="config.E008"))
    if settings.DB_MIN_CONNECTIONS > settings.DB_MAX_CONNECTIONS:
        findings.append(
            Error(
                "DB_MIN_CONNECTIONS is greater than DB_MAX_CONNECTIONS.",
                hint="Lower the one or raise the other.",
                id="config.E009",
            )
        )
    return findings


@register()
def proxies_are_networks(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:  # noqa: ARG001
    """Refuse trusted proxies that are no addresses: their clients' limits would silently count for the proxy."""
    return [
        Error(
            f"TRUSTED_PROXIES names {proxy!r}, which is no IP address or network.",
            hint="Use addresses such as 10.0.0.7 or networks such as 10.0.0.0/8.",
            id="config.E010",
        )
        for proxy in settings.TRUSTED_PROXIES
        if not _is_network(proxy)
    ]


@register()
def origins_are_origins(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:  # noqa: ARG001
    """Refuse allowed origins that no browser would ever send."""
    return [
        Error(
            f"ALLOWED_ORIGINS names {origin!r}, which is no origin.",
            hint="Write scheme and host without a path, such as https://app.example.com; null and * are allowed too.",
            id="config.E011",
        )
        for origin in settings.ALLOWED_ORIGINS
        if origin not in {"*", "null"} and not _is_origin(origin)
    ]


@register()
def workers_share_a_database(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:  # noqa: ARG001
    """Refuse several workers on SQLite; warn where they have no Redis."""
    if settings.WEB_CONCURRENCY <= 1:
        return []
    if settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        return [
            Error(
                f"WEB_CONCURRENCY is {settings.WEB_CONCURRENCY}, but SQLite serves one worker only.",
                hint="Set DATABASE_URL to a PostgreSQL database, or WEB_CONCURRENCY to 1.",
                id="config.E012",
            )
        ]
    if not settings.REDIS_URL:
        return [
            CheckWarning(
                f"WEB_CONCURRENCY is {settings.WEB_CONCURRENCY} without REDIS_URL: workers hear of each other's news "
                "from the database alone, within 2 seconds.",
                hint="Set REDIS_URL for live delivery between workers.",
                id="config.W001",
            )
        ]
    return []


@register()
def messages_fit_frames(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:  # noqa: ARG001
    """Refuse a message limit that a frame cannot carry."""
    if settings.MAX_MESSAGE_LENGTH * 4 <= settings.MAX_PAYLOAD_SIZE:  # UTF-8 takes at most 4 bytes a character
        return []
    return [
        Error(
            "A message of MAX_MESSAGE_LENGTH characters may not fit into a frame of MAX_PAYLOAD_SIZE bytes.",
            hint="Make MAX_PAYLOAD_SIZE at least four times MAX_MESSAGE_LENGTH.",
            id="config.E013",
        )
    ]


def _is_network(text: str) -> bool:
    """Whether this is an IP address or network."""
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _is_web_address(text: str) -> bool:
    """Whether this is an http or https address with a host."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def _is_origin(text: str) -> bool:
    """Whether this is an origin as browsers write it: scheme, host, perhaps a port, and nothing else."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    written = f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")
    return bool(parts.scheme and parts.hostname) and written == text.lower()
