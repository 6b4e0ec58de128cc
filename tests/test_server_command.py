"""`manage.py serve` starts when everything is fit, and otherwise says in one sentence what is not."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from config.listening import bind
from tests.server import database_url

MANAGE = Path(settings.BASE_DIR) / "manage.py"


def serve(*arguments: str, **variables: object) -> subprocess.Popen[str]:
    """Start the command on the test database."""
    environment: dict[str, Any] = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": database_url(),
        "WEB_CONCURRENCY": 1,
        **variables,
    }
    return subprocess.Popen(
        [sys.executable, str(MANAGE), "serve", *arguments],
        env={name: str(value) for name, value in environment.items()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def refusal(*arguments: str, **variables: object) -> str:
    """What the command says when it refuses to start: on stderr, with exit code 1 and nothing else."""
    with serve(*arguments, **variables) as process:
        said, complained = process.communicate(timeout=30)
    assert process.returncode == 1
    assert said == ""
    assert "Traceback" not in complained
    return complained.strip()


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that something listens on."""
    with bind("127.0.0.1", 0) as listener:
        yield listener.getsockname()[1]


def test_it_serves_until_it_is_told_to_stop(live_database: None) -> None:
    """One line says where; SIGTERM ends it with exit code 0."""
    with serve("--port", "0") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Serving on http://127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0


def test_it_explains_itself() -> None:
    """Every option, with its default and the setting that it comes from."""
    with serve("--help", PORT=8123) as process:
        said = " ".join(process.communicate(timeout=30)[0].split())
    assert "Serve HTTP and WebSocket connections." in said
    assert "port to listen on, 0 for any free one (PORT, now 8123)" in said
    assert all(option in said for option in ("--host HOST", "--port PORT", "--fd FD", "--workers WORKERS"))


def test_a_port_in_use_is_refused(live_database: None, taken_port: int) -> None:
    """With the way out."""
    assert refusal("--port", str(taken_port)) == (
        f"CommandError: Port {taken_port} on 127.0.0.1 is in use by another program: choose another one with --port."
    )


@pytest.mark.parametrize(("arguments", "variables"), [(("--workers", "2"), {}), ((), {"WEB_CONCURRENCY": 2})])
def test_several_workers_are_refused(live_database: None, arguments: tuple[str], variables: dict[str, object]) -> None:
    """As long as nothing supervises them; SQLite refuses them in any case."""
    assert "worker" in refusal(*arguments, **variables)


def test_an_unmigrated_database_is_refused(tmp_path: Path) -> None:
    """The sentence names the command that helps."""
    said = refusal(DATABASE_URL=f"sqlite:///{tmp_path / 'empty.sqlite3'}")
    assert said.startswith("CommandError: The database lacks ")
    assert said.endswith("migrations: run `manage.py migrate` first.")


def test_an_unreachable_database_is_refused() -> None:
    """In one line, whatever the driver says."""
    said = refusal(DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing")
    assert said.startswith("CommandError: The database cannot be reached (")
    assert said.endswith("): check DATABASE_URL.")
    assert "\n" not in said


@pytest.mark.postgres_only
def test_more_connections_than_the_database_has_are_refused(live_database: None) -> None:
    """They would fail later, under load."""
    said = refusal(DB_MAX_CONNECTIONS=1_000_000)
    assert said.startswith("CommandError: 1 x DB_MAX_CONNECTIONS = 1000000 exceeds the ")


def test_settings_that_make_no_sense_are_refused() -> None:
    """By the system checks, before anything is started."""
    assert "KEEP_ALIVE_TIMEOUT is 0" in refusal(KEEP_ALIVE_TIMEOUT=0)
