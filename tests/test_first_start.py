"""`bin/run` on a machine that has nothing yet, and again; whom `demo_data` makes, and where it refuses to."""

import io
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import check_password
from django.core.management import CommandError, call_command
from pytest_django import Settings

from tests.processes import free_port

ROOT = Path(settings.BASE_DIR)
START_SECONDS = 40.0
_MADE_BY_USE = shutil.ignore_patterns(".*", "db.sqlite3*", "__pycache__", "staticfiles")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the project as git would give it, whose packages are installed already."""
    folder = shutil.copytree(ROOT, tmp_path / "checkout", ignore=_MADE_BY_USE)
    folder.joinpath(".venv").symlink_to(sys.prefix)
    return folder


@contextmanager
def running(checkout: Path, port: int) -> Iterator[Path]:
    """Run `bin/run` until the end of the block, which is given its output; it must end well on SIGTERM."""
    output = checkout / "output"
    environment = {"PATH": os.environ["PATH"], "HOME": str(checkout), "PORT": str(port)}
    with output.open("wb") as written:
        process = subprocess.Popen(
            [checkout / "bin" / "run"], env=environment, stdout=written, stderr=written, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(port):
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.1)
        yield output
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(port: int) -> bool:
    """Whether an HTTP server listens there, whatever it says."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/live", timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


@pytest.mark.any_stack
@pytest.mark.timeout(120)
@pytest.mark.skipif(
    not Path(sys.prefix, ".installed-requirements.txt").exists(),
    reason="bin/run would install packages over the network",
)
def test_the_first_start_prepares_everything_and_the_second_keeps_it(checkout: Path) -> None:
    """The printed line sends a message; secrets are made once, for their owner's eyes only."""
    port = free_port()
    with running(checkout, port) as output:
        line = re.search(r"^ +(\.venv/bin/python docs/examples/send_message\.py .*)$", output.read_text(), re.MULTILINE)
        assert line, output.read_text()
        sent = subprocess.run(["sh", "-c", line[1]], cwd=checkout, capture_output=True, text=True, check=False)
        assert sent.returncode == 0, sent.stderr
        assert "The other person received: Hello" in sent.stdout
    secrets = (checkout / ".env").read_text()
    assert stat.S_IMODE((checkout / ".env").stat().st_mode) == 0o600
    assert all(
        len(value) >= 64 for value in re.findall(r"^(?:SECRET_KEY|JWT_SECRET|\w+_KEY)=(.*)$", secrets, re.MULTILINE)
    )
    with running(checkout, port) as output:
        assert "0 users created." in output.read_text()
        assert "fresh secrets" not in output.read_text()
    assert (checkout / ".env").read_text() == secrets


def test_bin_run_takes_settings_and_no_arguments() -> None:
    """An argument is refused with the way to say it."""
    result = subprocess.run([ROOT / "bin" / "run", "--port", "9000"], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "PORT=9000 bin/run" in result.stderr


@pytest.mark.django_db
def test_demo_users_are_three_of_whom_one_administers(settings: Settings) -> None:
    """More are made on request, and all share the printed password."""
    settings.DEBUG, settings.DEMO_PASSWORD = True, "a demo password"
    users = get_user_model().objects.filter(username__regex=r"^(ann|bob|carl|user\d+)$")
    call_command("demo_data", stdout=io.StringIO())
    assert sorted(users.values_list("username", "is_staff", "is_superuser")) == [
        ("ann", False, False),
        ("bob", False, False),
        ("carl", True, True),
    ]
    call_command("demo_data", users=5, stdout=io.StringIO())
    assert sorted(users.values_list("username", flat=True)) == ["ann", "bob", "carl", "user1", "user2"]
    made_by_each = users.filter(username__in=["ann", "user1"])
    assert all(check_password("a demo password", user.password) for user in made_by_each)


@pytest.mark.django_db
def test_a_production_database_gets_no_demo_users(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Known logins beside real people would be a hole."""
    settings.DEBUG = settings.DATABASE_IS_EMBEDDED = False
    call_command("demo_data")
    assert "No demo users" in capsys.readouterr().out
    assert not get_user_model().objects.filter(username="ann").exists()


@pytest.mark.django_db
def test_a_negative_number_of_users_is_refused() -> None:
    """Rather than taken for none."""
    with pytest.raises(CommandError, match="negative"):
        call_command("demo_data", users=-1)
