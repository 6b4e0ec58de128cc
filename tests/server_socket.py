"""The server of `tests.server_app` as a process, and a client that sends and sees the very bytes."""

import base64
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import psutil

START_SECONDS = 20.0
WAIT_SECONDS = 15.0  # longest wait for something that has to come
MASK = b"\x9a\x02\xf3\x44"

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class Frame(NamedTuple):
    """One frame of the server."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bytes | None = MASK, size: int = -1
) -> bytes:
    """The bytes of a frame of a client, right or wrong; `size` is what the header claims, if not the truth."""
    size = len(payload) if size < 0 else size
    first = fin << 7 | rsv << 4 | opcode
    masked = 0 if mask is None else 0x80
    if size < 126:
        header = bytes((first, masked | size))
    elif size < 1 << 16:
        header = bytes((first, masked | 126)) + size.to_bytes(2, "big")
    else:
        header = bytes((first, masked | 127)) + size.to_bytes(8, "big")
    return header + (payload if mask is None else mask + xor(payload, mask))


def xor(payload: bytes, mask: bytes) -> bytes:
    """The payload under a mask."""
    whole = mask * (len(payload) // 4 + 1)
    return bytes(a ^ b for a, b in zip(payload, whole, strict=False))


def close_frame(code: int | None = None, reason: bytes = b"") -> bytes:
    """The bytes of a client's close frame."""
    return frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason)


def deflated(payload: bytes) -> bytes:
    """A payload as permessage-deflate sends it (RFC 7692 section 7.2.1)."""
    compressor = zlib.compressobj(wbits=-12)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflated(payload: bytes) -> bytes:
    """What was compressed without context of earlier messages (section 7.2.2)."""
    return zlib.decompressobj(wbits=-15).decompress(payload + b"\x00\x00\xff\xff")


class RawClient:
    """A WebSocket client without any opinion."""

    def __init__(
        self,
        port: int,
        path: str = "/",
        *,
        method: str = "GET",
        upgrade: str = "websocket",
        version: str = "13",
        **headers: str,
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self.request(path, method=method, upgrade=upgrade, version=version, **headers)

    def request(
        self, path: str, *, method: str = "GET", upgrade: str = "websocket", version: str = "13", **headers: str
    ) -> None:
        """Send the head of a request: a handshake, unless `upgrade` is empty."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
        if upgrade:
            key = base64.b64encode(os.urandom(16)).decode()
            lines += [f"Upgrade: {upgrade}", "Connection: Upgrade"]
            lines += [f"Sec-WebSocket-Version: {version}", f"Sec-WebSocket-Key: {key}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send("\r\n".join([*lines, "", ""]).encode())

    def handshake(self) -> Self:
        """Read the server's answer and expect it to be the accept."""
        assert self.response().startswith("HTTP/1.1 101 ")
        return self

    def response(self) -> str:
        """The head of the server's answer."""
        while b"\r\n\r\n" not in self._received:
            data = self.socket.recv(65_536)
            assert data, self._received
            self._received += data
        head, self._received = self._received.split(b"\r\n\r\n", 1)
        return head.decode()

    def answer(self) -> tuple[int, bytes]:
        """Status and body of an answer to an HTTP request."""
        head = self.response()
        size = int(re.findall(r"(?i)content-length: (\d+)", head)[0])
        return int(head.split()[1]), self._take(size) or b""

    def send(self, data: bytes) -> None:
        """Send these bytes, unless the server has ended the connection over what it had of them already."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)

    def text(self, payload: bytes | str) -> None:
        """Send a text frame."""
        self.send(frame(TEXT, payload.encode() if isinstance(payload, str) else payload))

    def read(self) -> Frame | None:
        """The next frame; None when the connection has ended."""
        head = self._take(2)
        if head is None:
            return None
        size = head[1]
        if size >= 126:
            size = int.from_bytes(self._take(2 if size == 126 else 8) or b"", "big")
        payload = self._take(size)
        assert payload is not None
        return Frame(head[0] & 0x0F, payload, bool(head[0] & 0x80), head[0] >> 4 & 7)

    def read_all(self) -> Iterator[Frame]:
        """All frames until the connection ends."""
        while (found := self.read()) is not None:
            yield found

    def expect_text(self, payload: bytes | str) -> None:
        """Read a frame that has to be this text."""
        payload = payload.encode() if isinstance(payload, str) else payload
        assert self.read() == Frame(TEXT, payload)

    def close_code(self) -> int | None:
        """Read on to the server's close frame, answer it, and see the connection end; None if none comes."""
        for found in self.read_all():
            if found.opcode == CLOSE:
                with contextlib.suppress(OSError):
                    self.send(frame(CLOSE, found.payload[:2]))
                assert list(self.read_all()) == []
                return int.from_bytes(found.payload[:2], "big") if found.payload else 1005
        return None

    def _take(self, size: int) -> bytes | None:
        while len(self._received) < size:
            try:
                data = self.socket.recv(max(65_536, size - len(self._received)))
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._received += data
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def __enter__(self) -> Self:
        """Connect, before the answer is read."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Drop the connection."""
        self.socket.close()


class AppServer:
    """`tests.server_app` in a process of its own."""

    def __init__(self, *arguments: str, pass_fds: tuple[int, ...] = ()) -> None:
        self._log = Path(tempfile.mkstemp(prefix="chat-app-", suffix=".log")[1])
        self.hear = self._log.with_suffix(".hear")  # when it exists, /deaf hears
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.server_app", *arguments],
                cwd=Path(__file__).parent.parent,
                env={**os.environ, "HEAR": str(self.hear)},
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=pass_fds,
            )
        self.wait_for("Serving on ", START_SECONDS)
        self.port = int(re.findall(r"Serving on http://.*:(\d+)", self.log)[0])

    @property
    def log(self) -> str:
        """What the server has written."""
        return self._log.read_text()

    @property
    def memory(self) -> int:
        """The bytes of memory that the process occupies."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def connect(self, path: str = "/", **headers: str) -> RawClient:
        """A client that has been accepted."""
        return RawClient(self.port, path, **headers).handshake()

    def wait_for(self, text: str, seconds: float = WAIT_SECONDS) -> None:
        """Return once the server has written this."""
        deadline = time.monotonic() + seconds
        while text not in self.log:
            assert self.process.poll() is None or text in self.log, self.log
            assert time.monotonic() < deadline, f"{text!r} is not in\n{self.log}"
            time.sleep(0.02)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def exit_code(self) -> int:
        """Wait for the end of the process."""
        return self.process.wait(WAIT_SECONDS)

    def __enter__(self) -> Self:
        """Serve until the end of the with block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the server and forget its log."""
        self.hear.touch()
        if self.process.poll() is None:
            self.stop()
        try:
            self.exit_code()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if error is not None:
            print(self.log)  # noqa: T201  pytest shows it with the failure
        self._log.unlink()
        self.hear.unlink(missing_ok=True)
