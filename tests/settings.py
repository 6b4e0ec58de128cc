"""The service's settings with secrets for tests, so that tests and type checks need no prepared environment."""

import os

os.environ["ENV_FILE"] = os.devnull  # a developer's own .env must not change what the tests test
os.environ.setdefault("SECRET_KEY", "tests-only-" + "s" * 40)
os.environ.setdefault("JWT_SECRET", "tests-only-" + "j" * 40)
os.environ.setdefault("CHAT_ENCRYPTION_KEY", "tests-only-" + "c" * 40)

from config.settings import *  # noqa: E402, F403  the environment has to be complete before
