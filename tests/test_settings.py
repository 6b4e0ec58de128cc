"""A start in an empty environment, the values of variables, the refusal of wrong ones: by the real manage.py."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

pytestmark = pytest.mark.any_stack

ROOT = Path(__file__).parent.parent
SECRETS = {"SECRET_KEY": "s" * 50, "JWT_SECRET": "j" * 32, "CHAT_ENCRYPTION_KEY": "c" * 32}
# Nobody's .env file; coverage's own variables stay, so that it measures these processes too.
EMPTY = {"ENV_FILE": os.devnull} | {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
POSTGRES = "postgresql://chat:hidden-word@db.example/chat"


def manage(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run manage.py in an environment of nothing but these variables, without anybody's .env file."""
    return subprocess.run(
        [sys.executable, ROOT / "manage.py", *arguments],
        env={**EMPTY, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


def settings_of(**variables: str) -> dict[str, object]:
    """The settings that a process with these variables has, as far as JSON can say them."""
    code = (
        "import json; from config import settings; "
        "print(json.dumps({n: v for n, v in vars(settings).items() if n.isupper()}, default=str))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**EMPTY, **SECRETS, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert printed.returncode == 0, printed.stderr
    values: dict[str, object] = json.loads(printed.stdout)
    return values


def assert_refused_in_one_line(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 1 and one sentence on stderr with these words in it."""
    assert result.returncode == 1
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in result.stderr


def test_an_empty_environment_is_refused_by_one_sentence_that_names_all_it_lacks() -> None:
    """Without any variable no command starts."""
    assert_refused_in_one_line(manage("check"), "SECRET_KEY, JWT_SECRET and CHAT_ENCRYPTION_KEY", ".env", "bin/run")


@pytest.mark.parametrize("name", SECRETS)
def test_each_secret_is_required(name: str) -> None:
    """One missing or blank secret is named alone."""
    result = manage("migrate", **{**SECRETS, name: "  "})
    assert_refused_in_one_line(result, f"{name} must be set")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("EDIT_WINDOW", "5m"),
        ("DEBUG", "flase"),
        ("SESSION_POLICY", "several"),
        ("PRESENCE_SCOPE", "nobody"),
        ("LOG_LEVEL", "LOUD"),
        ("DATABASE_URL", "mysql://db/chat"),
        ("DATABASE_URL", "postgresql://chat:hidden-word@db:port/chat"),
    ],
)
def test_an_unreadable_value_is_refused_by_name(name: str, value: str) -> None:
    """A value of the wrong kind stops the start with one sentence, which quotes no password."""
    result = manage("check", **SECRETS, **{name: value})
    assert_refused_in_one_line(result, name)
    assert "hidden-word" not in result.stderr


@pytest.mark.parametrize(
    ("variables", "finding"),
    [
        ({"JWT_SECRET": "j" * 31}, "config.E001"),
        ({"CHAT_ENCRYPTION_KEY": "c" * 32 + ",short"}, "config.E002"),
        ({"JWT_ALGORITHM": "none"}, "config.E003"),
        ({"JWT_ALGORITHM": "RS256"}, "config.E004"),
        ({"JWT_ALGORITHM": "RS256", "JWT_PUBLIC_KEY": "ssh-rsa AAAA"}, "config.E005"),
        ({"JWT_JWKS_URL": "file:///etc/passwd"}, "config.E007"),
        ({"JWT_JWKS_URL": "https://[broken"}, "config.E007"),
        ({"PORT": "0"}, "config.E008"),
        ({"PORT": "65536"}, "config.E008"),
        ({"MAX_CONNECTIONS": "-1"}, "config.E008"),
        ({"KEEP_ALIVE_TIMEOUT": "0"}, "config.E008"),
        ({"DB_MAX_CONNECTIONS": "3"}, "config.E008"),
        ({"DB_MIN_CONNECTIONS": "11"}, "config.E009"),
        ({"TRUSTED_PROXIES": "10.0.0.0/8,proxy.example"}, "config.E010"),
        ({"ALLOWED_ORIGINS": "https://app.example/path"}, "config.E011"),
        ({"ALLOWED_ORIGINS": "app.example"}, "config.E011"),
        ({"ALLOWED_ORIGINS": "https://app.example:port"}, "config.E011"),
        ({"WEB_CONCURRENCY": "2"}, "config.E012"),
        ({"MAX_PAYLOAD_SIZE": "1024", "MAX_MESSAGE_LENGTH": "300"}, "config.E013"),
    ],
)
def test_a_bad_set_up_is_refused_by_a_check_with_a_hint(variables: dict[str, str], finding: str) -> None:
    """Values that can be read but cannot work fail the system checks, without a traceback."""
    result = manage("check", **{**SECRETS, **variables})
    assert result.returncode == 1
    assert finding in result.stderr
    assert "HINT" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_public_key_of_the_wrong_kind_is_refused() -> None:
    """RS256 does not take an elliptic curve key, which ES256 takes, also with its line ends escaped."""
    public_key = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode().replace("\n", "\\n")
    refused = manage("check", **SECRETS, JWT_ALGORITHM="RS256", JWT_PUBLIC_KEY=pem)
    assert "config.E006" in refused.stderr
    accepted = manage("check", **SECRETS, JWT_ALGORITHM="ES256", JWT_PUBLIC_KEY=pem)
    assert accepted.returncode == 0, accepted.stderr


def test_several_workers_without_redis_are_warned_of() -> None:
    """On PostgreSQL alone several workers are allowed, with a warning."""
    result = manage("check", **SECRETS, DATABASE_URL=POSTGRES, WEB_CONCURRENCY="2")
    assert result.returncode == 0
    assert "config.W001" in result.stderr


def test_good_values_of_every_kind_pass() -> None:
    """What the checks are strict about is accepted when it is right."""
    result = manage(
        "check",
        **SECRETS,
        ALLOWED_ORIGINS="https://app.example, http://localhost:3000, http://[::1]:3000, null",
        TRUSTED_PROXIES="10.0.0.7, 192.168.0.0/16, ::1",
        JWT_ALGORITHM="RS256",
        JWT_JWKS_URL="https://issuer.example/.well-known/jwks.json",
        MAX_CONNECTIONS="0",
        MESSAGE_RATE_LIMIT="0",
    )
    assert result.returncode == 0, result.stderr


def test_the_defaults_are_those_of_the_documentation() -> None:
    """Beyond the secrets nothing has to be set."""
    settings = settings_of()
    expected = {
        "HOST": "127.0.0.1",
        "PORT": 8000,
        "WEB_CONCURRENCY": 1,
        "DEBUG": False,
        "ALLOWED_ORIGINS": [],
        "TRUSTED_PROXIES": [],
        "JWT_ALGORITHM": "HS256",
        "MAX_CONNECTIONS": 10_000,
        "MAX_CONNECTIONS_PER_IP": 100,
        "MAX_PAYLOAD_SIZE": 1_048_576,
        "MAX_MESSAGE_LENGTH": 5_000,
        "AUTH_TIMEOUT": 30,
        "CONNECTION_TIMEOUT": 300,
        "KEEP_ALIVE_TIMEOUT": 60,
        "OFFLINE_GRACE_PERIOD": 60,
        "EDIT_WINDOW": 300,
        "MESSAGE_RATE_LIMIT": 240,
        "IP_RATE_LIMIT": 3_000,
        "SESSION_POLICY": "multi",
        "PRESENCE_SCOPE": "contacts",
        "MEMORY_LIMIT_MB": 512,
        "METRICS_TOKEN": "",
        "DB_MAX_CONNECTIONS": 10,
        "DB_MIN_CONNECTIONS": 2,
        "DB_IDLE_TIMEOUT": 30,
        "DB_CONNECTION_TIMEOUT": 2,
        "DB_STATEMENT_TIMEOUT": 30,
    }
    assert {name: settings[name] for name in expected} == expected
    assert "InMemoryChannelLayer" in str(settings["CHANNEL_LAYERS"])
    assert "db.sqlite3" in str(settings["DATABASES"])


def test_lists_and_keys_are_split_at_commas() -> None:
    """White space and empty parts around commas do not count."""
    settings = settings_of(CHAT_ENCRYPTION_KEY=f"{'a' * 20}, {'b' * 20},", ALLOWED_HOSTS="chat.example ,, localhost")
    assert settings["CHAT_ENCRYPTION_KEYS"] == ["a" * 20, "b" * 20]
    assert settings["ALLOWED_HOSTS"] == ["chat.example", "localhost"]


def test_a_line_end_in_a_public_key_may_be_escaped() -> None:
    """Hosts that allow no line ends in variables can still give a PEM key."""
    assert settings_of(JWT_PUBLIC_KEY="-----BEGIN\\nabc")["JWT_PUBLIC_KEY"] == "-----BEGIN\nabc"


def test_redis_carries_layer_and_cache() -> None:
    """With several addresses the layer is sharded, sealed with every key, and the cache takes the first."""
    settings = settings_of(
        REDIS_URL="redis://one:6379/0, redis://two:6379/0", CHAT_ENCRYPTION_KEY=f"{'a' * 20},{'b' * 20}"
    )
    layer = settings["CHANNEL_LAYERS"]["default"]  # type: ignore[index]
    cache = settings["CACHES"]["default"]  # type: ignore[index]
    assert layer["BACKEND"] == "channels_redis.pubsub.RedisPubSubChannelLayer"
    assert layer["CONFIG"]["hosts"] == ["redis://one:6379/0", "redis://two:6379/0"]
    assert len(set(layer["CONFIG"]["symmetric_encryption_keys"])) == 2
    assert "a" * 20 not in str(layer)
    assert cache["LOCATION"] == "redis://one:6379/0"


def test_the_time_outs_reach_postgres() -> None:
    """PostgreSQL is told of the statement time-out, and options of the address are kept."""
    settings = settings_of(
        DATABASE_URL=f"{POSTGRES}?sslmode=require", DB_CONNECTION_TIMEOUT="3", DB_STATEMENT_TIMEOUT="7"
    )
    database = settings["DATABASES"]["default"]  # type: ignore[index]
    options = database["OPTIONS"]
    assert (options["connect_timeout"], options["options"]) == (3, "-c statement_timeout=7000")
    assert options["sslmode"] == "require"
    assert database["CONN_MAX_AGE"] is None
    assert "pool" not in options


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    """A settings file fills in what the environment does not set."""
    (tmp_path / "chat.env").write_text("PORT=9001\nHOST=0.0.0.0\n")
    settings = settings_of(ENV_FILE=str(tmp_path / "chat.env"), PORT="9002")
    assert (settings["HOST"], settings["PORT"]) == ("0.0.0.0", 9002)


def test_every_variable_stands_in_the_example_file_and_the_documentation() -> None:
    """Operators find each variable that the settings read."""
    source = (ROOT / "config" / "settings.py").read_text()
    example = (ROOT / ".env.example").read_text()
    documentation = (ROOT / "docs" / "configuration.md").read_text()
    names = set(re.findall(r'(?:text|key|integer|yes_or_no|words|choice|database)\("([A-Z_]+)"', source)) | set(SECRETS)
    assert len(names) > 30
    assert {name for name in names if name not in example} == set()
    assert {name for name in names if f"`{name}`" not in documentation} == set()
