"""Stopping is polite: everybody hears of it, nothing in flight is lost, and the process ends within ten seconds."""

import signal
import time
import urllib.request

import pytest

from tests.server_socket import CLOSE, TEXT, AppServer, Frame, RawClient, close_frame

RESTARTING = (1012).to_bytes(2, "big")


def ask(server: AppServer, path: str = "/") -> bytes:
    """The body of the answer to an HTTP request."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
        return bytes(answer.read())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_ends_at_once(number: signal.Signals) -> None:
    """Either signal; what was registered to happen last happens, even when another part of it fails."""
    with AppServer() as server:
        assert ask(server) == b"ready"
        began = time.monotonic()
        server.stop(number)
        assert server.exit_code() == 0
        assert time.monotonic() - began < 3
        assert "flushed" in server.log
        assert "the flush fails on purpose" in server.log


def test_every_client_hears_goodbye_and_then_1012() -> None:
    """In this order, and the server ends when the last has answered."""
    with AppServer() as server:
        clients = [server.connect() for _ in range(50)]
        server.stop()
        for client in clients:
            assert client.read() == Frame(TEXT, b"goodbye")
            assert client.read() == Frame(CLOSE, RESTARTING)
            client.send(close_frame(1012))
            assert client.read() is None
            client.socket.close()
        assert server.exit_code() == 0
        assert server.log.index("disconnected 1012") < server.log.index("flushed")


def test_many_clients_are_told_one_after_the_other() -> None:
    """So that they do not all come back at the same moment: 400 over about three seconds."""
    with AppServer() as server:
        clients = [server.connect() for _ in range(400)]
        began = time.monotonic()
        server.stop()
        for client in clients:
            assert client.close_code() == 1012
            client.socket.close()
        assert server.exit_code() == 0
        assert 2 < time.monotonic() - began < 9


def test_a_stopping_server_takes_no_more_but_finishes_what_it_has() -> None:
    """No new connections; requests on old ones are answered, and they can ask whether the server stops."""
    with AppServer() as server:
        with RawClient(server.port, "/slow/1", upgrade="") as slow:
            time.sleep(0.2)
            server.stop()
            server.wait_for("Stopping")
            with pytest.raises(ConnectionRefusedError):
                server.connect()
            slow.request("/", upgrade="")
            assert slow.answer() == (200, b"slow")
            assert slow.answer() == (200, b"draining")
        assert server.exit_code() == 0


def test_an_upgrade_of_an_old_connection_is_refused_while_stopping() -> None:
    """It would have to be closed again at once."""
    with AppServer() as server, server.connect("/stuck") as stuck, RawClient(server.port, upgrade="") as old:
        assert old.answer() == (200, b"ready")
        server.stop()
        server.wait_for("Stopping")
        old.request("/")
        assert old.response().startswith("HTTP/1.1 503 ")
        stuck.send(close_frame(1000))
        assert server.exit_code() == 0


def test_what_takes_no_notice_is_closed_in_the_end() -> None:
    """An application that ignores chat.stopping, and a client that ignores the close, keep nothing alive."""
    with AppServer() as server:
        with server.connect("/stuck") as stuck, server.connect() as ignorant, server.connect("/deaf") as deaf:
            began = time.monotonic()
            server.stop()
            assert stuck.close_code() == 1012
            assert deaf.close_code() == 1012
            assert [found.opcode for found in ignorant.read_all()] == [TEXT, CLOSE]
            assert server.exit_code() == 0
            assert time.monotonic() - began < 10
        assert "flushed" in server.log


def test_a_thread_that_hangs_does_not_keep_the_process() -> None:
    """Everything polite has happened, and the exit code tells that not everything ended."""
    with AppServer() as server, server.connect("/hang") as client:
        began = time.monotonic()
        server.stop()
        assert client.close_code() == 1012
        assert server.exit_code() == 1
        assert time.monotonic() - began < 11
        assert "flushed" in server.log
        assert "Something did not end in time" in server.log


def test_a_second_signal_ends_it_at_once() -> None:
    """The operator does not want to wait."""
    with AppServer() as server, server.connect("/stuck"):
        server.stop()
        server.wait_for("Stopping")
        server.stop(signal.SIGINT)
        assert server.exit_code() == 1
        assert "flushed" not in server.log


def test_a_handshake_that_is_not_finished_is_refused() -> None:
    """The client gets an answer at once, though its application has not decided yet."""
    with AppServer() as server, RawClient(server.port, "/late/2") as client:
        time.sleep(0.2)
        began = time.monotonic()
        server.stop()
        assert client.response().startswith("HTTP/1.1 403 ")
        assert time.monotonic() - began < 2
        assert server.exit_code() == 0
