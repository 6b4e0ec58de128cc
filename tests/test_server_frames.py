"""What counts as a simple text frame, and that it does not matter how a stream of frames is cut into packets."""

import itertools
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, strategies as st

from config.frames import COMPRESSED_TEXT, next_text, text_header, unmask
from tests.server_socket import BINARY, CONTINUATION, PING, PONG, TEXT, AppServer, Frame, RawClient, frame, xor

LIMIT = 1_048_576


@pytest.fixture(scope="module")
def server() -> Iterator[AppServer]:
    """An echo server for all cases."""
    with AppServer() as server:
        yield server


@given(payload=st.binary(max_size=3_000), mask=st.binary(min_size=4, max_size=4))
def test_unmasking_gives_what_was_masked(payload: bytes, mask: bytes) -> None:
    """The client's mask is taken off byte by byte, whatever the length."""
    assert unmask(xor(payload, mask), mask) == payload


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 1_500, 1_501, 65_535])
def test_simple_frames_are_taken(size: int) -> None:
    """A whole text frame is found at any place, with what follows left alone."""
    payload = b"x" * size
    data = b"before" + frame(TEXT, payload) + b"behind"
    assert next_text(data, 6, LIMIT) == (payload, len(data) - 6)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x81",
        frame(TEXT, b"cut")[:-1],
        frame(TEXT, b"x" * 200)[:7],
        frame(TEXT, b"x" * 200)[:-1],
        frame(TEXT, b"not final", fin=False),
        frame(TEXT, b"compressed", rsv=4),
        frame(TEXT, b"not masked", mask=None),
        frame(TEXT, b"x" * 200, mask=None),
        frame(BINARY, b"binary"),
        frame(CONTINUATION, b"the rest"),
        frame(PING),
        frame(TEXT, b"x" * 65_536),
        b"\x81\xfe\x00\x05\0\0\0\0Hello",  # a long header for a short text
        b"\x81\xfe\x00\x7d\0\0\0\0" + b"x" * 125,
    ],
)
def test_everything_else_is_left_to_the_parser(data: bytes) -> None:
    """What is incomplete, special or wrong is not judged here."""
    assert next_text(data, 0, LIMIT) is None


def test_a_frame_above_the_limit_is_left_to_the_parser() -> None:
    """The parser then closes the connection with 1009."""
    assert next_text(frame(TEXT, b"12345"), 0, 5) is not None
    assert next_text(frame(TEXT, b"123456"), 0, 5) is None


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (0, "8100"),
        (125, "817d"),
        (126, "817e007e"),
        (65_535, "817effff"),
        (65_536, "817f0000000000010000"),
    ],
)
def test_headers_are_as_short_as_can_be(size: int, header: str) -> None:
    """RFC 6455 section 5.2 allows no longer ones; the server masks nothing."""
    assert text_header(size).hex() == header
    assert text_header(size, COMPRESSED_TEXT).hex() == "c1" + header[2:]


def a_message(chance: random.Random, number: int) -> tuple[list[bytes], list[Frame]]:
    """The frames of a message of any kind, perhaps with pings between them, and the answers to all of it."""
    opcode = chance.choice((TEXT, TEXT, TEXT, BINARY))
    size = chance.choice((0, 5, 100, 125, 126, 700, 2_000, 70_000))
    payload = (b"%d;" % number * size)[:size]
    cuts = sorted(chance.choices(range(size + 1), k=chance.choice((0, 0, 0, 1, 3))))
    parts = [payload[first:last] for first, last in itertools.pairwise([0, *cuts, size])]
    frames, answers = [], [Frame(opcode, payload)]
    for at, part in enumerate(parts):
        if chance.random() < 0.3:
            frames.append(frame(PING, b"%d in %d" % (at, number)))
            answers.append(Frame(PONG, b"%d in %d" % (at, number)))
        kind = CONTINUATION if at else opcode
        frames.append(frame(kind, part, fin=at == len(parts) - 1, mask=chance.randbytes(4)))
    return frames, answers


@pytest.mark.parametrize("seed", range(12))
def test_packets_may_be_cut_anywhere(server: AppServer, seed: int) -> None:
    """Messages of all kinds are echoed completely and in order, in packets of any size, and pings are answered.

    While much waits for the client only the newest ping is, so some pongs may be missing (RFC 6455 section 5.5.3).
    """
    chance = random.Random(seed)  # noqa: S311  not for secrets
    frames, answers = zip(*(a_message(chance, number) for number in range(120)), strict=True)
    stream = b"".join(itertools.chain(*frames)) + frame(PING, b"the last") + frame(TEXT, b"the end")
    messages: list[Frame] = []
    pongs: list[Frame] = []
    with server.connect() as client, ThreadPoolExecutor(1) as sender:
        sending = sender.submit(send_in_pieces, client, stream, chance)
        while messages[-1:] != [Frame(TEXT, b"the end")] or pongs[-1:] != [Frame(PONG, b"the last")]:
            found = client.read()
            assert found is not None
            (pongs if found.opcode == PONG else messages).append(found)
        sending.result()
    wanted = [*itertools.chain(*answers), Frame(PONG, b"the last"), Frame(TEXT, b"the end")]
    assert messages == [one for one in wanted if one.opcode != PONG]
    all_pongs = iter([one for one in wanted if one.opcode == PONG])
    assert all(pong in all_pongs for pong in pongs)  # in order: `in` takes from the iterator up to what it finds


def send_in_pieces(client: RawClient, stream: bytes, chance: random.Random) -> None:
    """Send a stream in pieces of any size."""
    largest = chance.choice((3_000, 20_000, 100_000))
    at = 0
    while at < len(stream):
        size = chance.choice((1, 2, 7, 100, largest))
        client.send(stream[at : at + size])
        at += size
