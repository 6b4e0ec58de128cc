"""The statements that the service sends, caught as they are sent, and what PostgreSQL makes of them."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import psycopg
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

EXPLAINED = ("SELECT", "WITH", "UPDATE")
SCAN = re.compile(r"(?:Seq|Index|Index Only|Bitmap Index) Scan.*")
VALUE = re.compile(r"'[^']*'(?:::[\w\[\]]+)?")


class Plan(NamedTuple):
    """One statement, and how it is carried out."""

    statement: str
    lines: list[str]

    def brief(self) -> list[str]:
        """Return what is read and by which index, once each; then the pages and the time it took."""
        lines = []
        for line, condition in zip(self.lines, [*self.lines[1:], ""], strict=True):
            if found := SCAN.search(line):
                by = condition.strip().removeprefix("Index Cond: ") if "Index Cond" in condition else ""
                lines.append(VALUE.sub("…", f"{found[0]} {by}".replace("messaging_", "").rstrip()))
        pages = [line.strip() for line in self.lines if "Buffers" in line][:1]
        return [*dict.fromkeys(lines), *pages, *self.lines[-1:]]

    def scans(self, table: str) -> bool:
        """Return whether it reads this table from beginning to end."""
        return any("Seq Scan" in line and f" on {table} " in f"{line} " for line in self.lines)


@contextmanager
def caught() -> Iterator[list[str]]:
    """Collect what is sent to the database in this block, with its values filled in, by Django or past it."""
    statements: list[str] = []
    original = psycopg.Cursor.execute

    def execute(self: Any, query: Any, params: Any = None, **kwargs: Any) -> Any:
        if type(self) is psycopg.Cursor:  # Django's are others
            statements.append(psycopg.ClientCursor(self.connection).mogrify(query, params))
        return original(self, query, params, **kwargs)

    with patch.object(psycopg.Cursor, "execute", execute), CaptureQueriesContext(connection) as captured:
        yield statements
    statements += [query["sql"] for query in captured]


def plans_of(work: Callable[[], object], *, is_measured: bool = False) -> list[Plan]:
    """Return the plan of each statement by which some work reads or updates; what it changes is taken back.

    Args:
        work: what sends the statements; it is done twice, so that it remembers what it remembers.
        is_measured: whether each statement is carried out once more, to say what it costs.

    """
    options = "ANALYZE, BUFFERS, COSTS OFF, TIMING OFF" if is_measured else "COSTS OFF"
    plans = []
    with transaction.atomic(), connection.cursor() as cursor:
        work()
        with caught() as statements:
            work()
        for statement in statements:
            if statement.lstrip().startswith(EXPLAINED):
                cursor.execute(f"EXPLAIN ({options}) {statement}")
                plans.append(Plan(statement.strip(), [line for (line,) in cursor.fetchall()]))
        transaction.set_rollback(True)
    return plans
