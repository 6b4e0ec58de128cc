"""How one connection ends: whoever begins, the other sees a code, and everything written comes before it."""

import contextlib
import itertools
import time
from collections.abc import Iterator

import pytest

from tests.server_socket import BINARY, CLOSE, PING, PONG, TEXT, AppServer, Frame, RawClient, close_frame, frame

MIB = 1_048_576


@pytest.fixture(scope="module")
def server() -> Iterator[AppServer]:
    """A server for all cases that need no settings."""
    with AppServer() as server:
        yield server


@pytest.mark.parametrize("code", [1000, 1001, 1012, 1013, 3000, 4400, 4401, 4403, 4408, 4409, 4413, 4429, 4999])
def test_the_gateways_code_reaches_the_client(server: AppServer, code: int) -> None:
    """Also those that autobahn's own function refuses to send."""
    with server.connect(f"/close/{code}") as client:
        assert client.close_code() == code
    server.wait_for(f"disconnected {code}")


@pytest.mark.parametrize("count", [1, 10, 5_000])
def test_everything_written_comes_before_the_close(server: AppServer, count: int) -> None:
    """In order, also when it is more than the socket takes at once; nothing comes after."""
    with server.connect(f"/close/1012/{count}") as client:
        time.sleep(0.2)
        *texts, closing = itertools.islice(client.read_all(), count + 1)
        assert texts == [Frame(TEXT, b"%01024d" % number) for number in range(count)]
        assert closing == Frame(CLOSE, (1012).to_bytes(2, "big"))
        client.send(close_frame(1012))
        assert client.read() is None


def test_frames_behind_the_servers_close_are_dropped(server: AppServer) -> None:
    """Only the client's close frame counts any longer."""
    with server.connect("/close/1001") as client:
        client.send(frame(TEXT, b"too late") + frame(PING, b"too late") + close_frame(1001))
        assert list(client.read_all()) == [Frame(CLOSE, (1001).to_bytes(2, "big"))]


def test_a_client_that_does_not_answer_the_close_is_dropped(server: AppServer) -> None:
    """The handshake has a time-out, after which the application hears of an unclean end."""
    with server.connect("/close/1013") as client:
        assert client.read() == Frame(CLOSE, (1013).to_bytes(2, "big"))
        assert client.read() is None
    server.wait_for("disconnected 1006")


def test_a_client_that_does_not_read_the_end_is_dropped() -> None:
    """It closes in the middle of a flood and reads nothing more: the server does not wait for ever."""
    with AppServer() as server, server.connect("/flood") as client:
        time.sleep(0.5)  # until much waits for it
        client.send(close_frame(1000))
        server.wait_for("disconnected 1000")


def wait_for_another(server: AppServer, text: str, before: int) -> None:
    """Return once the server has written this once more."""
    deadline = time.monotonic() + 15
    while server.log.count(text) == before:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(("sent", "code"), [(None, 1005), (1000, 1000), (1001, 1001), (3000, 3000), (4999, 4999)])
def test_the_clients_code_reaches_the_application_and_comes_back(
    server: AppServer, sent: int | None, code: int
) -> None:
    """RFC 6455 section 5.5.1: the answer carries the same code."""
    before = server.log.count(f"disconnected {code}")
    with server.connect() as client:
        client.send(close_frame(sent))
        assert client.close_code() == code
    wait_for_another(server, f"disconnected {code}", before)


def test_a_connection_that_breaks_is_1006_to_the_application(server: AppServer) -> None:
    """There was no close frame."""
    before = server.log.count("disconnected 1006")
    server.connect().socket.close()
    wait_for_another(server, "disconnected 1006", before)


def test_a_violation_ends_only_its_own_connection(server: AppServer) -> None:
    """A frame of more than the limit is answered with 1009; the neighbour goes on, and the application knows."""
    with server.connect() as client, server.connect() as other:
        with contextlib.suppress(OSError):
            client.send(frame(TEXT, b"x" * (3 * MIB)))
        assert client.close_code() == 1009
        other.text("still here")
        other.expect_text("still here")
    server.wait_for("disconnected 1009")


def test_after_a_violation_nothing_is_read(server: AppServer) -> None:
    """Whatever follows is thrown away, however much it is, and the client still sees the code."""
    with server.connect() as client:
        client.send(frame(3) + frame(TEXT, b"x" * 1_000) * 1_000 + frame(PING))
        assert client.close_code() == 1002


def test_an_ordinary_application_is_served_too(server: AppServer) -> None:
    """It sends and closes by ASGI events, empty messages included."""
    with server.connect("/ordinary") as client:
        assert [client.read() for _ in range(3)] == [Frame(TEXT, b"hello"), Frame(TEXT, b""), Frame(BINARY, b"")]
        assert client.close_code() == 3001


@pytest.mark.parametrize(("path", "code"), [("/leave", 1000), ("/fail", 1011)])
def test_an_application_that_ends_ends_its_connection(server: AppServer, path: str, code: int) -> None:
    """Nobody would serve it any longer."""
    with server.connect(path) as client:
        assert client.close_code() == code


def test_an_error_of_the_application_is_logged(server: AppServer) -> None:
    """With its traceback, once."""
    with server.connect("/fail") as client:
        client.close_code()
    server.wait_for("RuntimeError: the application fails on purpose")


def test_an_application_may_refuse_the_handshake(server: AppServer) -> None:
    """Closing before the accept is HTTP 403."""
    with RawClient(server.port, "/refuse") as client:
        assert client.response().startswith("HTTP/1.1 403 ")


@pytest.mark.parametrize(
    ("method", "version", "status"), [("GET", "12", "400"), ("GET", "x", "400"), ("POST", "13", "405")]
)
def test_a_bad_handshake_is_refused(server: AppServer, method: str, version: str, status: str) -> None:
    """The client is told over HTTP, and the server goes on."""
    with RawClient(server.port, method=method, version=version) as client:
        assert client.response().split()[1] == status
    with server.connect() as client:
        client.text("still here")
        client.expect_text("still here")


def test_a_silent_client_is_asked_and_then_told_goodbye() -> None:
    """Pings at half of the keep-alive time; the application says goodbye, else the server closes without it."""
    with (
        AppServer("--keep-alive-timeout", "1") as server,
        server.connect() as client,
        server.connect("/stuck") as stuck,
    ):
        assert client.read() == Frame(PING, b"")
        assert client.read() == Frame(TEXT, b"silent")
        assert client.close_code() == 4408
        assert stuck.close_code() == 4408


def test_a_client_that_answers_pings_stays() -> None:
    """A pong is a sign of life, and so is a part of a frame."""
    with AppServer("--keep-alive-timeout", "1") as server, server.connect() as client:
        for _ in range(4):
            assert client.read() == Frame(PING, b"")
            client.send(frame(PONG))
        client.text("still here")
        client.expect_text("still here")


def test_a_client_that_is_not_read_is_not_silent() -> None:
    """It could not be heard."""
    with AppServer("--keep-alive-timeout", "1") as server, server.connect("/pause/2.5") as client:
        client.expect_text("paused")
        client.text("still here")
        client.expect_text("still here")
