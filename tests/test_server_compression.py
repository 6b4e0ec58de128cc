"""permessage-deflate: what is negotiated, that it works both ways, and that it costs an idle connection nothing."""

import zlib
from collections.abc import Iterator

import pytest

from tests.server_socket import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    AppServer,
    Frame,
    RawClient,
    deflated,
    frame,
    inflated,
)

MIB = 1_048_576
OFFER = "permessage-deflate; client_max_window_bits"
LONG = b'{"type":"new_message","content":"' + b"so it goes on and on " * 60 + b'"}'


@pytest.fixture(scope="module")
def server() -> Iterator[AppServer]:
    """An echo server for all cases."""
    with AppServer() as server:
        yield server


@pytest.fixture
def client(server: AppServer) -> Iterator[RawClient]:
    """A client that has negotiated compression as browsers do."""
    with server.connect(Sec_WebSocket_Extensions=OFFER) as client:
        yield client


def compressed(payload: bytes) -> bytes:
    """The frame of a client that compresses."""
    return frame(TEXT, deflated(payload), rsv=4)


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        (
            "permessage-deflate",
            "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
        ),
        (
            OFFER,
            "permessage-deflate; client_no_context_takeover; client_max_window_bits=12; server_no_context_takeover",
        ),
        (
            "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ),
        (
            "permessage-deflate; server_max_window_bits=10",
            "permessage-deflate; server_max_window_bits=10; client_no_context_takeover; server_no_context_takeover",
        ),
        # Offers that cannot be met are passed over, as if they had not been made.
        ("permessage-deflate; server_max_window_bits=8", None),
        ("permessage-deflate; server_max_window_bits=16", None),
        ("permessage-deflate; client_max_window_bits=x", None),
        ("permessage-deflate; something_else", None),
        ("permessage-deflate; server_no_context_takeover=1", None),
        ("x-webkit-deflate-frame", None),
        ("permessage-bzip2", None),
        (
            "x-other, permessage-deflate; server_max_window_bits=8, permessage-deflate",
            "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
        ),
        ("", None),
    ],
)
def test_the_first_offer_that_can_be_met_is_accepted(server: AppServer, offer: str, answer: str | None) -> None:
    """No context is taken over, in either direction; windows are small where the client allows it."""
    with RawClient(server.port, Sec_WebSocket_Extensions=offer) as client:
        head = client.response().splitlines()
        assert head[0].startswith("HTTP/1.1 101 ")
        answers = [line.partition(": ")[2] for line in head if line.startswith("Sec-WebSocket-Extensions")]
        assert answers == ([] if answer is None else [answer])
        client.text(LONG)
        echo = client.read()
        assert echo is not None
        assert echo.rsv == (0 if answer is None else 4)


def test_long_texts_travel_compressed(client: RawClient) -> None:
    """A text of 1 KiB or more is compressed, and each message stands for itself."""
    for _ in range(3):
        client.send(compressed(LONG))
        echo = client.read()
        assert echo is not None
        assert (echo.opcode, echo.fin, echo.rsv) == (TEXT, True, 4)
        assert inflated(echo.payload) == LONG
        assert len(echo.payload) < len(LONG) / 4


@pytest.mark.parametrize(("size", "rsv"), [(0, 0), (1_023, 0), (1_024, 4)])
def test_short_texts_travel_as_they_are(client: RawClient, size: int, rsv: int) -> None:
    """Below 1 KiB nothing is compressed, however it came."""
    for sent in (frame(TEXT, b"x" * size), compressed(b"x" * size)):
        client.send(sent)
        echo = client.read()
        assert echo is not None
        assert echo.rsv == rsv
        assert (inflated(echo.payload) if rsv else echo.payload) == b"x" * size


@pytest.mark.parametrize("bits", range(9, 16))
def test_the_window_is_not_larger_than_the_client_asked_for(server: AppServer, bits: int) -> None:
    """A client with a small window can read what it gets."""
    text = bytes(range(32, 127)) * 300
    with server.connect(Sec_WebSocket_Extensions=f"permessage-deflate; server_max_window_bits={bits}") as client:
        client.text(text)
        echo = client.read()
        assert echo is not None
        assert zlib.decompressobj(wbits=-bits).decompress(echo.payload + b"\x00\x00\xff\xff") == text


@pytest.mark.parametrize("size", [16, 64, 256, 1_024, 4_096, 8_192, 16_384, 32_768, 65_536, 131_072])
def test_messages_of_all_sizes_come_back(client: RawClient, size: int) -> None:
    """The suite's cases 12 and 13: many messages one after the other."""
    payloads = [(b'{"number": %d, "text": "Fischers Fritz"} ' % number * size)[:size] for number in range(50)]
    for payload in payloads:
        client.send(compressed(payload))
        echo = client.read()
        assert echo is not None
        assert (inflated(echo.payload) if echo.rsv else echo.payload) == payload


def test_a_compressed_message_may_be_fragmented(client: RawClient) -> None:
    """Only the first frame says that it is compressed; control frames may come between."""
    data = deflated(LONG)
    client.send(frame(TEXT, data[:10], fin=False, rsv=4) + frame(PING, b"between"))
    assert client.read() == Frame(PONG, b"between")
    client.send(frame(CONTINUATION, data[10:], fin=False) + frame(CONTINUATION))
    echo = client.read()
    assert echo is not None
    assert inflated(echo.payload) == LONG


def test_binary_messages_may_be_compressed(client: RawClient) -> None:
    """They come back as they were."""
    client.send(frame(BINARY, deflated(b"\xff" * 5_000), rsv=4))
    assert client.read() == Frame(BINARY, b"\xff" * 5_000)


def test_a_message_may_end_with_a_final_block(client: RawClient) -> None:
    """RFC 7692 section 7.2.3.5: a block with BFINAL set, and an empty one behind it."""
    compressor = zlib.compressobj(wbits=-12)
    client.send(frame(TEXT, compressor.compress(b"final") + compressor.flush(zlib.Z_FINISH) + b"\x00", rsv=4))
    client.expect_text("final")


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(TEXT, b"\xff\xff\xff\xff", rsv=4), 1007),
        (frame(TEXT, deflated(b"\xed\xa0\x80"), rsv=4), 1007),
        (frame(PING, b"", rsv=4), 1002),
        (frame(TEXT, b"x", rsv=2), 1002),
        (frame(TEXT, deflated(LONG)[:9], fin=False, rsv=4) + frame(CONTINUATION, deflated(LONG)[9:], rsv=4), 1002),
    ],
    ids=["corrupt", "not UTF-8", "control frame", "other bit", "continuation"],
)
def test_wrong_compression_closes(client: RawClient, sent: bytes, code: int) -> None:
    """What cannot be understood is no message."""
    client.send(sent)
    assert client.close_code() == code


def test_without_negotiation_the_bit_is_an_error(server: AppServer) -> None:
    """RSV1 means nothing to a connection without the extension."""
    with server.connect() as client:
        client.send(compressed(LONG))
        assert client.close_code() == 1002


def test_a_bomb_closes_with_1009_before_it_explodes(server: AppServer) -> None:
    """What would be 256 MiB never is; another connection does not notice."""
    bomb = compressed(b"0" * (256 * MIB))
    assert len(bomb) < MIB
    with server.connect(Sec_WebSocket_Extensions=OFFER) as client, server.connect() as other:
        before = server.memory
        client.send(bomb)
        assert client.close_code() == 1009
        assert server.memory - before < 16 * MIB
        other.text("still here")
        other.expect_text("still here")


def test_a_bomb_in_fragments_closes_with_1009(server: AppServer) -> None:
    """The limit counts for the whole message."""
    data = deflated(b"0" * (4 * MIB))
    with server.connect(Sec_WebSocket_Extensions=OFFER) as client:
        client.send(frame(TEXT, data[:500], fin=False, rsv=4))
        for at in range(500, len(data), 500):
            client.send(frame(CONTINUATION, data[at : at + 500], fin=False))
        assert client.close_code() == 1009


def test_idle_connections_keep_no_compressors() -> None:
    """500 connections that have sent and received compressed messages take less than 40 KiB each (measured: 20).

    With the compressors of both directions kept it would be 60 more.
    """
    with AppServer() as server:
        warm = [server.connect(Sec_WebSocket_Extensions=OFFER) for _ in range(50)]
        talk(warm)
        before = server.memory
        clients = [server.connect(Sec_WebSocket_Extensions=OFFER) for _ in range(500)]
        talk(clients)
        assert (server.memory - before) / len(clients) < 40 * 1024
        for client in warm + clients:
            client.socket.close()


def talk(clients: list[RawClient]) -> None:
    """Have each client send and receive a compressed message."""
    for number, client in enumerate(clients):
        text = b"%d %s" % (number, LONG)
        client.send(compressed(text))
        echo = client.read()
        assert echo is not None
        assert inflated(echo.payload) == text
