"""The first run: demo people, and what `serve` refuses."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

pytestmark = pytest.mark.any_stack


def manage(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command on a SQLite database of the test's own."""
    environment = {**os.environ, "DATABASE_URL": f"sqlite:///{folder / 'demo.sqlite3'}", "DEBUG": "true", **variables}
    environment.pop("REDIS_URL", None)
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, env=environment, cwd=settings.BASE_DIR, capture_output=True, text=True, check=False)


def test_demo_people_are_made_once(tmp_path: Path) -> None:
    """`demo_data` makes its people the first time and finds them the second."""
    assert "migrate" in manage(tmp_path, "serve", "--port", "0").stderr
    assert manage(tmp_path, "migrate", "-v0").returncode == 0
    first = manage(tmp_path, "demo_data", "--users", "5", DEMO_PASSWORD="demo-password-1")
    assert first.returncode == 0, first.stderr
    assert "docs/examples/send_message.py" in first.stdout
    assert manage(tmp_path, "demo_data", DEMO_PASSWORD="demo-password-1").returncode == 0


def test_serve_refuses_several_workers(tmp_path: Path) -> None:
    """More than one worker is refused with one sentence."""
    refused = manage(tmp_path, "serve", "--workers", "2")
    assert refused.returncode == 1
    assert "one worker" in refused.stderr
    assert "Traceback" not in refused.stderr
