"""`manage.py serve`: the production server."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections
from django.db.migrations.executor import MigrationExecutor
from django.utils.module_loading import import_string

_RESERVED = 5  # PostgreSQL connections left to administrators and commands


class Command(BaseCommand):
    """Serves HTTP and WebSocket after making sure that settings and database are fit for it."""

    help = (
        "Serve HTTP and WebSocket connections. Settings and database are checked first; SIGTERM or Ctrl-C ends every "
        "connection politely within ten seconds, a second one at once."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options; each has its setting as the default."""
        parser.add_argument("--host", default=settings.HOST, help="address to listen on (HOST, now %(default)s)")
        parser.add_argument(
            "--port",
            type=int,
            default=settings.PORT,
            help="port to listen on, 0 for any free one (PORT, now %(default)s)",
        )
        parser.add_argument(
            "--fd", type=int, help="listen on this inherited file descriptor instead of a host and port"
        )
        parser.add_argument(
            "--workers",
            type=int,
            default=settings.WEB_CONCURRENCY,
            help="number of processes (WEB_CONCURRENCY, now %(default)s)",
        )

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002  Django's signature
        """Check, listen, serve."""
        if options["workers"] != 1:
            raise CommandError("This version serves with one worker only: use --workers 1 or WEB_CONCURRENCY=1.")
        _check_database(options["workers"])
        # Named by a string, since apps must not import the project that wires them.
        serve = import_string(getattr(settings, "SERVER", "config.server.serve"))
        try:
            serve(host=options["host"], port=options["port"], descriptor=options["fd"])
        except OSError as error:
            raise CommandError(str(error)) from error


def _check_database(workers: int) -> None:
    """Refuse a database that cannot be reached, lacks tables or has too few connections."""
    connection = connections[DEFAULT_DB_ALIAS]
    try:
        executor = MigrationExecutor(connection)
        waiting = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
        available = _available_connections() if connection.vendor == "postgresql" else None
    except OperationalError as error:
        reason = str(error).partition("\n")[0].rstrip()
        raise CommandError(f"The database cannot be reached ({reason}): check DATABASE_URL.") from error
    finally:
        connection.close()
    if waiting:
        raise CommandError(f"The database lacks {waiting} migrations: run `manage.py migrate` first.")
    wanted = workers * settings.DB_MAX_CONNECTIONS
    if available is not None and wanted > available:
        raise CommandError(
            f"{workers} x DB_MAX_CONNECTIONS = {wanted} exceeds the {available} connections that the PostgreSQL server "
            "can give: lower DB_MAX_CONNECTIONS or raise max_connections there."
        )


def _available_connections() -> int:
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SHOW max_connections")
        return int(cursor.fetchone()[0]) - _RESERVED
