"""The service's own server as a process, on the database of the tests."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from django.conf import settings
from django.db import connection

from tests.processes import free_port

START_SECONDS = 30.0
STOP_SECONDS = 20.0
_MANAGE = Path(settings.BASE_DIR) / "manage.py"


def database_url() -> str:
    """The address of the database that this process's tests use."""
    described = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{described['NAME']}"
    account = described["USER"] + (f":{described['PASSWORD']}" if described["PASSWORD"] else "")
    return f"postgresql://{account}@{described['HOST']}:{described['PORT']}/{described['NAME']}"


class LiveServer:
    """One `manage.py serve`, with the limits by address off unless the test asks for them."""

    def __init__(self, **variables: object) -> None:
        """Prepare a server.

        Args:
            variables: environment variables of the server; None takes one away.
        """
        self.port = int(str(variables.pop("PORT", 0))) or free_port()
        self.log_path = Path(tempfile.mkstemp(prefix="chat-server-", suffix=".log")[1])
        self.environment = _environment(variables)
        self.process: subprocess.Popen[bytes] | None = None  # None before the start and after the end

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return f"ws://127.0.0.1:{self.port}/ws/"

    @property
    def http_url(self) -> str:
        """The address that HTTP paths are appended to, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What the server has written so far."""
        return self.log_path.read_text(errors="replace")

    def start(self) -> None:
        """Start the server, again after a stop or kill too, and return once it answers."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, _MANAGE, "serve", "--port", str(self.port)],
                cwd=settings.BASE_DIR,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None:
                raise RuntimeError(f"The server ended with {self.process.returncode} at its start:\n{self.log}")
            if time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"The server did not answer within {START_SECONDS} s:\n{self.log}")
            time.sleep(0.05)

    def stop(self) -> int:
        """Stop the server by SIGTERM and return its exit code; fail if it had ended before or does not end."""
        process = self._running()
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(f"The server did not stop within {STOP_SECONDS} s:\n{self.log}") from None
        self.process = None
        return code

    def kill(self) -> None:
        """End the server and its workers by SIGKILL."""
        process = self._running()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_SECONDS)
        self.process = None

    def close(self) -> None:
        """Stop the server if it is meant to be running, and forget its log."""
        try:
            if self.process is not None and self.stop() != 0:
                raise RuntimeError(f"The server ended with an error:\n{self.log}")
        finally:
            self.log_path.unlink()

    def _running(self) -> subprocess.Popen[bytes]:
        """The server's process; fails with its log if it has died by itself."""
        if self.process is None:
            raise RuntimeError("The server has not been started")
        if self.process.poll() is not None:
            code, self.process = self.process.returncode, None
            raise RuntimeError(f"The server died with {code}:\n{self.log}")
        return self.process

    def _answers(self) -> bool:
        """Whether the server answers HTTP requests, with whatever status."""
        try:
            with urllib.request.urlopen(f"{self.http_url}/live", timeout=2):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False


def _environment(variables: dict[str, object]) -> dict[str, str]:
    """The environment of a server on the test database, with these variables on top."""
    base: dict[str, object] = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": database_url(),
        # All tests come from one address.
        "IP_RATE_LIMIT": 0,
        "MAX_CONNECTIONS_PER_IP": 0,
        **variables,
    }
    return {name: str(value) for name, value in base.items() if value is not None}
