"""Nobody's speed is another's trouble: readers that stop, clients that flood, and what waits for either is bounded."""

import contextlib
import itertools
import socket
import time
from collections.abc import Iterator
from unittest.mock import Mock

import pytest

from config.incoming import STEPS, IncomingProtocol
from tests.server_app import FLOOD_FRAME
from tests.server_socket import BINARY, PING, PONG, TEXT, AppServer, Frame, RawClient, frame

MIB = 1_048_576


@pytest.fixture
def server() -> Iterator[AppServer]:
    """A server whose memory is this test's own."""
    with AppServer() as server:
        yield server


def send_until_stuck(client: RawClient, data: bytes, most: int) -> int:
    """Send the same again and again until the server takes no more, or `most` bytes; return how much it took."""
    client.socket.settimeout(1.0)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < most:
            sent += client.socket.send(data[sent % len(data) :])
    client.socket.settimeout(15)
    return sent


def settled_memory(server: AppServer) -> int:
    """The server's memory once it has stopped growing."""
    sizes = [server.memory]
    while len(sizes) < 5 or sizes[-1] - sizes[-5] > MIB // 4:
        time.sleep(0.1)
        sizes.append(server.memory)
        assert sizes[-1] - sizes[0] < 64 * MIB
    return sizes[-1]


def test_a_reader_that_stops_costs_nothing_and_then_misses_nothing(server: AppServer) -> None:
    """Only the transport's high-water mark waits for it; others go on; when it reads again, all is there in order."""
    with server.connect() as other:
        before = server.memory
        with server.connect("/flood") as slow:
            slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            assert settled_memory(server) - before < 8 * MIB
            for number in range(100):
                other.text(f"{number}")
                other.expect_text(f"{number}")
            for number in range(64 * MIB // FLOOD_FRAME):
                slow.expect_text(b"%0*d" % (FLOOD_FRAME, number))
            assert settled_memory(server) - before < 8 * MIB


def test_many_readers_that_stop_cost_little(server: AppServer) -> None:
    """Each has at most its high-water mark and one frame waiting: 40 stay below 10 MiB."""
    warm = server.connect("/flood")
    before = settled_memory(server)
    slow = [server.connect("/flood") for _ in range(40)]
    assert settled_memory(server) - before < 10 * MIB
    for client in [warm, *slow]:
        client.socket.close()


@pytest.mark.parametrize(
    "data",
    [frame(TEXT, b"x" * 100) * 100, frame(TEXT, b"x" * 100_000), frame(TEXT, b"x" * MIB), frame(BINARY) * 1_000],
    ids=["small", "large", "largest", "empty"],
)
def test_a_client_that_floods_is_not_read(server: AppServer, data: bytes) -> None:
    """What its application has not taken is bounded, and TCP makes the client wait."""
    with server.connect("/deaf") as client, server.connect() as other:
        before = server.memory
        sent = send_until_stuck(client, data, 64 * MIB)
        assert sent < 64 * MIB
        assert settled_memory(server) - before < 16 * MIB
        other.text("still here")
        other.expect_text("still here")


def test_a_client_that_flooded_is_heard_in_full_later(server: AppServer) -> None:
    """Not a frame is lost by having stopped to read."""
    with server.connect("/deaf") as client:
        data = frame(TEXT, b"x" * 1_000)
        sent = send_until_stuck(client, data, 64 * MIB)
        server.hear.touch()
        client.send(data[sent % len(data) :] + frame(TEXT, b"the end"))
        texts = itertools.takewhile(lambda found: found != Frame(TEXT, b"7"), client.read_all())
        assert sum(found == Frame(TEXT, b"1000") for found in texts) == sent // len(data) + 1


def test_pings_that_nobody_reads_the_pongs_of_do_not_pile_up(server: AppServer) -> None:
    """A client may ask as often as it likes: only the newest answer waits for it."""
    with server.connect() as client:
        before = server.memory
        send_until_stuck(client, frame(PING, b"p" * 125) * 1_000, 16 * MIB)
        assert settled_memory(server) - before < 8 * MIB


def test_pings_do_not_wait_for_a_busy_application(server: AppServer) -> None:
    """The server answers them itself, even when a few frames wait for the application."""
    with server.connect("/deaf") as client:
        client.send(frame(TEXT, b"x") * 10 + frame(PING, b"p"))
        assert client.read() == Frame(PONG, b"p")


def test_the_gateway_can_stop_and_go_on_reading(server: AppServer) -> None:
    """What comes while it does not read is delivered when it does, in order."""
    with server.connect("/pause/0.3") as client:
        client.expect_text("paused")
        for number in range(200):
            client.text(f"{number}")
        for number in range(200):
            client.expect_text(f"{number}")


def test_a_client_that_floods_others_do_not_notice(server: AppServer) -> None:
    """Clients that send as fast as they can, frames or pings, leave the others their turns."""
    with server.connect("/stuck") as first, server.connect() as second, server.connect() as other:
        for client, data in ((first, frame(TEXT, b"x")), (second, frame(PING))):
            client.socket.setblocking(False)
            for _ in range(20):
                with contextlib.suppress(BlockingIOError):
                    client.socket.send(data * 100_000)
                other.text("my turn")
                other.expect_text("my turn")


@pytest.mark.parametrize("state", [IncomingProtocol.STATE_OPEN, IncomingProtocol.STATE_CLOSING])
def test_the_parser_takes_its_turn_and_no_more(state: int) -> None:
    """After so many steps it goes on in the loop's next turn, also while closing."""

    class Endless(IncomingProtocol):
        """A connection whose input does not end."""

        current_frame = "one that is not finished"
        failedByMe = False  # noqa: N815  autobahn's name
        data = b"more"
        steps = 0

        def processData(self) -> bool:  # noqa: N802  autobahn's name
            """Count a step."""
            self.steps += 1
            return True

    protocol = Endless()
    protocol.state = state
    protocol.transport, protocol.turn = Mock(), Mock()
    protocol.consumeData()
    assert protocol.steps == STEPS
    protocol.transport.pauseProducing.assert_called_once_with()
    release, reason = protocol.turn.loop.call_soon.call_args.args
    release(reason)
    go_on = protocol.turn.loop.call_soon.call_args.args[0]
    go_on()
    assert protocol.steps == 2 * STEPS


def test_frames_before_the_accept_wait(server: AppServer) -> None:
    """A client that cannot wait for the handshake is served once the application has accepted."""
    with RawClient(server.port, "/late/0.3") as client:
        time.sleep(0.1)
        for number in range(3):
            client.text(f"{number} GET / HTTP/1.1\r\n\r\n")
            time.sleep(0.02)
        client.handshake()
        for number in range(3):
            client.expect_text(f"{number} GET / HTTP/1.1\r\n\r\n")


def test_frames_before_the_accept_are_bounded(server: AppServer) -> None:
    """The server reads on only when the application has accepted."""
    with RawClient(server.port, "/late/3") as client:
        time.sleep(0.1)
        before = server.memory
        assert send_until_stuck(client, frame(TEXT, b"x" * 60_000), 64 * MIB) < 64 * MIB
        assert settled_memory(server) - before < 8 * MIB
