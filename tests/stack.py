"""Runs a command with the servers of one stack: `python -m tests.stack {sqlite,postgres} -- pytest ...`.

`sqlite` is SQLite with everything else in memory, `postgres` is PostgreSQL and Redis. The command finds their
addresses in DATABASE_URL and REDIS_URL and the stack's name in CHAT_TEST_STACK. The servers end with the command.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from tests.processes import PostgresProcess, RedisProcess

STACKS = ("sqlite", "postgres")
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def environment_of(stack: str, servers: ExitStack, *, fsync: bool) -> dict[str, str]:
    """Start the servers of a stack and return the environment that names them."""
    environment = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
    environment["CHAT_TEST_STACK"] = stack
    if stack == "sqlite":
        folder = Path(servers.enter_context(tempfile.TemporaryDirectory(prefix="chat-sqlite-")))
        environment["DATABASE_URL"] = f"sqlite:///{folder / 'db.sqlite3'}"
    else:
        environment["DATABASE_URL"] = servers.enter_context(PostgresProcess(fsync=fsync)).url
        environment["REDIS_URL"] = servers.enter_context(RedisProcess()).url
    return environment


def run(command: list[str], environment: dict[str, str]) -> int:
    """Run the command, pass signals on to it, and return its exit code."""
    # A session of its own: a Ctrl-C on the terminal then reaches it once, through us.
    process = subprocess.Popen(command, env=environment, start_new_session=True)

    def forward(number: int, _frame: FrameType | None) -> None:
        process.send_signal(number)

    previous = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        code = process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def _exit_politely(number: int, _frame: FrameType | None) -> None:
    """End by an exception, so that servers already started are stopped."""
    raise SystemExit(128 + number)


def main() -> int:
    """Parse the command line, start the servers, run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.stack", description=__doc__)
    parser.add_argument("stack", choices=STACKS)
    parser.add_argument("--fsync", action="store_true", help="commits survive a loss of power; slower")
    parser.add_argument("command", nargs="+", help="what to run, after --")
    options = parser.parse_args()
    for number in _FORWARDED:
        signal.signal(number, _exit_politely)
    with ExitStack() as servers:
        return run(options.command, environment_of(options.stack, servers, fsync=options.fsync))


if __name__ == "__main__":
    sys.exit(main())
