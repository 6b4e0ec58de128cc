"""Fixtures of all tests: one migrated database for the session, the real server on it, and the people of each test.

What a server reads has to be committed, so tests share one database and never flush it: they make people,
conversations and groups of their own, with `cast`, and look at nothing else.
"""

import os
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack

import pytest
from django.db import connection
from django.test.utils import setup_databases, teardown_databases
from hypothesis import settings as hypothesis_settings
from pytest_django.plugin import DjangoDbBlocker

from tests.cast import Cast, new_cast
from tests.server import LiveServer

hypothesis_settings.register_profile("long")  # for suites that can run for longer than in CI
_LOG_CHARACTERS = 20_000  # of each server's log that a failing test shows, from its end
_servers: list[LiveServer] = []  # those running now


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Make the migrated test database; pytest-django's own fixture makes none when no test has its mark."""
    with django_db_blocker.unblock():
        databases = setup_databases(verbosity=0, interactive=False, aliases={"default": None})
    yield
    with django_db_blocker.unblock():
        if connection.vendor == "postgresql":
            # Threads of tests left connections open, and PostgreSQL drops no database that is in use.
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
        teardown_databases(databases, verbosity=0)


@pytest.fixture(scope="session")
def live_database(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Allow the use of the database, with commits that last and without any flushing."""
    with django_db_blocker.unblock():
        yield


@pytest.fixture(scope="session")
def server(live_database: None) -> Iterator[LiveServer]:
    """The real server, shared by all tests of the session."""
    server = LiveServer()
    _servers.append(server)
    try:
        server.start()
        yield server
    finally:
        _servers.remove(server)
        server.close()


@pytest.fixture
def start_server(live_database: None) -> Iterator[Callable[..., LiveServer]]:
    """Start a server of the test's own, with these environment variables."""
    with ExitStack() as started:

        def start(**variables: object) -> LiveServer:
            server = LiveServer(**variables)
            _servers.append(server)
            started.callback(_servers.remove, server)
            started.callback(server.close)
            server.start()
            return server

        yield start


@pytest.fixture
def cast(live_database: None) -> Cast:
    """Four people whom no other test knows."""
    return new_cast()


def pytest_configure() -> None:
    """Let a SIGTERM end the run as a Ctrl-C does, so that no server outlives it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse tests that would flush the shared database; leave what no stack changes to the first stack."""
    if os.environ.get("CHAT_TEST_STACK") == "postgres":
        skipped = [item for item in items if item.get_closest_marker("any_stack")]
        items[:] = [item for item in items if item not in skipped]
        config.hook.pytest_deselected(items=skipped)
    if connection.vendor != "postgresql":
        without_server = [item for item in items if item.get_closest_marker("postgres_only")]
        items[:] = [item for item in items if item not in without_server]
        config.hook.pytest_deselected(items=without_server)
    for item in items:
        mark = item.get_closest_marker("django_db")
        if "transactional_db" in getattr(item, "fixturenames", ()) or (mark and mark.kwargs.get("transaction")):
            raise pytest.UsageError(f"{item.nodeid} flushes the database under the server: use live_database instead")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the servers wrote when a test fails."""
    report = yield
    if report.failed:
        for server in _servers:
            report.sections.append((f"log of the server on port {server.port}", server.log[-_LOG_CHARACTERS:]))
    return report
