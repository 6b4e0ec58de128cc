"""Where the server listens, what HTTP clients may send, and what the access log says."""

import contextlib
import socket
from pathlib import Path

import pytest

from config.listening import CannotListenError, adopt, bind
from tests.server_socket import AppServer, RawClient

MIB = 1_048_576


def test_port_0_is_any_free_one() -> None:
    """The line on stdout says which."""
    with AppServer() as first, AppServer() as second:
        assert first.port != second.port
        assert f"Serving on http://127.0.0.1:{first.port}\n" in first.log


def test_a_port_in_use_is_refused_with_one_sentence() -> None:
    """The operator reads what to do."""
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListenError) as refused:
            bind("127.0.0.1", port)
    assert str(refused.value) == (
        f"Port {port} on 127.0.0.1 is in use by another program: choose another one with --port."
    )


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_a_foreign_address_is_refused_with_one_sentence(host: str) -> None:
    """Whether it is an address or a name."""
    with pytest.raises(CannotListenError) as refused:
        bind(host, 0)
    assert str(refused.value) == f"{host} is no address of this machine: choose another one with --host."


def test_a_restarted_server_gets_its_port_back() -> None:
    """Connections of its predecessor that linger in TIME_WAIT are no obstacle."""
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            listener.setblocking(True)
            accepted, _ = listener.accept()
            accepted.close()  # the server's side closes first, so it keeps the TIME_WAIT
            assert client.recv(1) == b""
    bind("127.0.0.1", port).close()


def test_a_server_takes_over_a_listening_socket() -> None:
    """As its parent has bound it; several processes may share it."""
    with bind("127.0.0.1", 0) as listener:
        descriptor = listener.fileno()
        arguments = ("--fd", str(descriptor))
        with (
            AppServer(*arguments, pass_fds=(descriptor,)) as first,
            AppServer(*arguments, pass_fds=(descriptor,)) as second,
        ):
            assert first.port == second.port == listener.getsockname()[1]
            with first.connect() as client:
                client.text("hello")
                client.expect_text("hello")
            first.stop()
            assert first.exit_code() == 0
            with second.connect() as client:
                client.text("still served")
                client.expect_text("still served")


def test_what_is_no_listening_socket_is_not_taken_over(tmp_path: Path) -> None:
    """A sentence says so."""
    with socket.socket() as idle, pytest.raises(CannotListenError, match="does not listen"):
        adopt(idle.fileno())
    with (tmp_path / "file").open("w") as file, pytest.raises(CannotListenError, match="is no socket"):
        adopt(file.fileno())


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python knows no IPv6")
def test_ipv6_works_too() -> None:
    """The address is announced as a browser wants it, and clients are known by theirs."""
    try:
        bind("::1", 0).close()
    except CannotListenError:
        pytest.skip("this machine has no IPv6")
    with AppServer("--host", "::1") as server:
        assert f"Serving on http://[::1]:{server.port}\n" in server.log
        with socket.create_connection(("::1", server.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")
        server.wait_for("::1:")


def test_http_is_answered_and_connections_are_kept() -> None:
    """By the same application."""
    with AppServer() as server, RawClient(server.port, upgrade="") as client:
        for _ in range(3):
            assert client.answer() == (200, b"ready")
            client.request("/", upgrade="")


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
def test_a_large_body_is_not_taken(chunked: bool) -> None:  # noqa: FBT001  pytest passes it
    """It neither fills the memory nor reaches the application, whether or not its length is declared."""
    headers = {"Transfer_Encoding": "chunked"} if chunked else {"Content_Length": str(64 * MIB)}
    piece = b"10000\r\n" + b"x" * 65_536 + b"\r\n" if chunked else b"x" * 65_536
    with AppServer("--max-body-size", "1000000") as server:
        before = server.memory
        with RawClient(server.port, method="POST", upgrade="", **headers) as client, contextlib.suppress(OSError):
            for _ in range(1_024):
                client.send(piece)
        assert server.memory - before < 8 * MIB
        with RawClient(server.port, upgrade="") as client:
            assert client.answer() == (200, b"ready")
        assert "POST" not in server.log


@pytest.mark.parametrize(
    ("size", "answer"),
    [(0, (200, b"ready")), (100_000, (200, b"ready")), (1_000_000, (200, b"ready")), (1_000_001, (413, b""))],
)
def test_a_body_within_the_limit_arrives(size: int, answer: tuple[int, bytes]) -> None:
    """Up to the very limit; a client that asks for one byte more gets to know why it may not."""
    headers = {"Content_Length": str(size)}
    with (
        AppServer("--max-body-size", "1000000") as server,
        RawClient(server.port, method="POST", upgrade="", **headers) as client,
    ):
        if answer[0] == 200:
            client.send(b"x" * size)
        assert client.answer() == answer


def test_the_access_log_has_a_line_a_request_and_no_secrets() -> None:
    """Neither query strings nor headers, and nothing a frame."""
    with AppServer() as server:
        with RawClient(server.port, "/path?token=secret1", upgrade="", Authorization="Bearer secret2") as client:
            client.answer()
        with server.connect("/?token=secret3", Authorization="Bearer secret4") as client:
            for _ in range(10):
                client.text("secret5")
                client.expect_text("secret5")
        server.wait_for("WebSocket / connected")
        assert "GET /path 200 " in server.log
        assert "secret" not in server.log
        assert server.log.count("INFO:access:") == 2
