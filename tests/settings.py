"""The service's settings with secrets for tests, so that tests and type checks need no prepared environment."""

import os
import tempfile
from pathlib import Path

os.environ["ENV_FILE"] = os.devnull  # a developer's own .env must not change what the tests test
os.environ.setdefault("SECRET_KEY", "tests-only-" + "s" * 40)
os.environ.setdefault("JWT_SECRET", "tests-only-" + "j" * 40)
os.environ.setdefault("CHAT_ENCRYPTION_KEY", "tests-only-" + "c" * 40)

from config.settings import *  # noqa: F403  the environment has to be complete before
from config.settings import DATABASES

if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # A file, since the server is another process; one for each test run, since two may run at once.
    DATABASES["default"]["TEST"] = {"NAME": Path(tempfile.gettempdir()) / f"chat-test-{os.getpid()}.sqlite3"}
