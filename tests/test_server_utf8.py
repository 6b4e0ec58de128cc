"""Text has to be UTF-8: the cases 6 of Autobahn's test suite as data, and what chance makes of it.

Every text is sent in four ways, as the short path and autobahn's parser each see only some of them.
"""

import random
from collections.abc import Callable, Iterator

import pytest

from config.frames import is_utf8
from tests.server_socket import CLOSE, CONTINUATION, PING, PONG, TEXT, AppServer, Frame, close_frame, frame

KOSME = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"  # the Greek word kosme, its second letter of three bytes
NOT_UTF8 = 1007

VALID = {
    "6.2": "Hello-µ@ßöäüàá-UTF-8!!".encode(),
    "6.5": KOSME,
    "6.6.2": b"\xce\xba",
    "6.6.5": b"\xce\xba\xe1\xbd\xb9",
    "6.6.7": b"\xce\xba\xe1\xbd\xb9\xcf\x83",
    "6.6.9": b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc",
    "6.7.1": b"\x00",
    "6.7.2": b"\xc2\x80",
    "6.7.3": b"\xe0\xa0\x80",
    "6.7.4": b"\xf0\x90\x80\x80",
    "6.9.1": b"\x7f",
    "6.9.2": b"\xdf\xbf",
    "6.9.3": b"\xef\xbf\xbf",
    "6.9.4": b"\xf4\x8f\xbf\xbf",
    "6.11.1": b"\xed\x9f\xbf",
    "6.11.2": b"\xee\x80\x80",
    "6.11.3": b"\xef\xbf\xbd",
    "6.11.4": b"\xf4\x8f\xbf\xbf",
    # Noncharacters are characters to UTF-8.
    **{
        f"6.22 plane {plane} {last:x}": chr(plane << 16 | last).encode()
        for plane in range(17)
        for last in (0xFFFE, 0xFFFF)
    },
    **{f"6.23 {last:x}": chr(last).encode() for last in range(0xFFF9, 0xFFFE)},
}
_LONELY = {
    "2 bytes": range(0xC0, 0xE0),
    "3 bytes": range(0xE0, 0xF0),
    "4 bytes": range(0xF0, 0xF8),
    "5 bytes": range(0xF8, 0xFC),
    "6 bytes": range(0xFC, 0xFE),
}
_LAST_MISSING = [
    b"\xc0",
    b"\xe0\x80",
    b"\xf0\x80\x80",
    b"\xf8\x80\x80\x80",
    b"\xfc\x80\x80\x80\x80",
    b"\xdf",
    b"\xef\xbf",
    b"\xf7\xbf\xbf",
    b"\xfb\xbf\xbf\xbf",
    b"\xfd\xbf\xbf\xbf\xbf",
]
_SURROGATES = [b"\xed\xa0\x80", b"\xed\xad\xbf", b"\xed\xae\x80", b"\xed\xaf\xbf", b"\xed\xb0\x80", b"\xed\xbf\xbf"]
INVALID = {
    "6.3": KOSME + b"\xed\xa0\x80edited",
    "6.4": KOSME + b"\xf4\x90\x80\x80edited",
    **{f"6.6 first {size} bytes": KOSME[:size] for size in (1, 3, 4, 6, 8, 10)},
    "6.8.1": b"\xf8\x88\x80\x80\x80",
    "6.8.2": b"\xfc\x84\x80\x80\x80\x80",
    "6.10.1": b"\xf7\xbf\xbf\xbf",
    "6.10.2": b"\xfb\xbf\xbf\xbf\xbf",
    "6.10.3": b"\xfd\xbf\xbf\xbf\xbf\xbf",
    "6.11.5": b"\xf4\x90\x80\x80",
    "6.12.1": b"\x80",
    "6.12.2": b"\xbf",
    **{f"6.12 {count} continuations": (b"\x80\xbf" * 4)[:count] for count in range(2, 8)},
    "6.12.8": bytes(range(0x80, 0xC0)),
    **{f"6.13 {name}": b"".join(bytes((first, 0x20)) for first in firsts) for name, firsts in _LONELY.items()},
    **{f"6.14 {text.hex()}": text for text in _LAST_MISSING},
    "6.15": b"".join(_LAST_MISSING),
    "6.16.1": b"\xfe",
    "6.16.2": b"\xff",
    "6.16.3": b"\xfe\xfe\xff\xff",
    "6.17.1": b"\xc0\xaf",
    "6.17.2": b"\xe0\x80\xaf",
    "6.17.3": b"\xf0\x80\x80\xaf",
    "6.17.4": b"\xf8\x80\x80\x80\xaf",
    "6.17.5": b"\xfc\x80\x80\x80\x80\xaf",
    "6.18.1": b"\xc1\xbf",
    "6.18.2": b"\xe0\x9f\xbf",
    "6.18.3": b"\xf0\x8f\xbf\xbf",
    "6.18.4": b"\xf8\x87\xbf\xbf\xbf",
    "6.18.5": b"\xfc\x83\xbf\xbf\xbf\xbf",
    "6.19.1": b"\xc0\x80",
    "6.19.2": b"\xe0\x80\x80",
    "6.19.3": b"\xf0\x80\x80\x80",
    **{f"6.20 {text.hex()}": text for text in _SURROGATES},
    **{f"6.21 {high.hex()}": high + low for high in _SURROGATES[:4] for low in _SURROGATES[4:]},
}


def whole(text: bytes) -> list[bytes]:
    """One frame at once: the short path."""
    return [frame(TEXT, text)]


def chopped(text: bytes) -> list[bytes]:
    """One frame byte by byte: autobahn sees it grow."""
    return [bytes((byte,)) for byte in frame(TEXT, text)]


def in_two(text: bytes) -> list[bytes]:
    """Two frames, cut in the middle and perhaps within a character."""
    half = len(text) // 2
    return [frame(TEXT, text[:half], fin=False) + frame(CONTINUATION, text[half:])]


def one_by_one(text: bytes) -> list[bytes]:
    """A frame for every byte, and an empty one at the end."""
    frames = [frame(CONTINUATION if at else TEXT, text[at : at + 1], fin=False) for at in range(len(text))]
    return [b"".join(frames), frame(CONTINUATION)]


WAYS = [whole, chopped, in_two, one_by_one]


@pytest.fixture(scope="module")
def server() -> Iterator[AppServer]:
    """An echo server for all cases."""
    with AppServer() as server:
        yield server


@pytest.mark.parametrize("way", WAYS)
def test_valid_text_comes_back(server: AppServer, way: Callable[[bytes], list[bytes]]) -> None:
    """Every valid text of the suite is echoed as it was sent."""
    with server.connect() as client:
        for name, text in VALID.items():
            for piece in way(text):
                client.send(piece)
            assert client.read() == Frame(TEXT, text), name


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("text", INVALID.values(), ids=INVALID)
def test_invalid_text_closes_with_1007(server: AppServer, text: bytes, way: Callable[[bytes], list[bytes]]) -> None:
    """No invalid text of the suite reaches the application."""
    with server.connect() as client:
        try:
            for piece in way(text):
                client.send(piece)
        except OSError:
            pass  # the server may be quicker than we are
        assert client.close_code() == NOT_UTF8


def test_empty_fragments_are_fine(server: AppServer) -> None:
    """6.1: empty frames in any place of a message."""
    with server.connect() as client:
        for parts in ((b"",), (b"", b"", b""), (b"", b"middle", b"")):
            for number, part in enumerate(parts):
                client.send(frame(CONTINUATION if number else TEXT, part, fin=number == len(parts) - 1))
            assert client.read() == Frame(TEXT, b"".join(parts))


@pytest.mark.parametrize("pieces", [1, 2])
def test_invalid_text_is_refused_before_its_end(server: AppServer, pieces: int) -> None:
    """6.4: the close frame comes although the message is not complete, in fragments or in one frame."""
    with server.connect() as client:
        if pieces == 1:
            client.send(frame(TEXT, KOSME + b"\xf4\x90\x80\x80", size=100))
        else:
            client.send(frame(TEXT, KOSME, fin=False) + frame(CONTINUATION, b"\xf4\x90\x80\x80", fin=False))
        closing = client.read()
        assert closing is not None
        assert (closing.opcode, closing.payload[:2]) == (CLOSE, NOT_UTF8.to_bytes(2, "big"))


def test_control_frames_need_not_be_text(server: AppServer) -> None:
    """Only texts and close reasons have to be UTF-8."""
    with server.connect() as client:
        client.send(frame(PING, b"\xff\xfe"))
        assert client.read() == Frame(PONG, b"\xff\xfe")
        client.send(close_frame(1000, b"\xff"))
        assert client.close_code() == NOT_UTF8


def test_chance_finds_no_difference_to_the_decoder() -> None:
    """Bytes that are nearly UTF-8 are judged as Python's decoder judges them."""
    chance = random.Random(6455)  # noqa: S311  not for secrets
    alphabet = "aß水🂡".encode() + bytes((0x80, 0xBF, 0xC0, 0xED, 0xA0, 0xF4, 0x90, 0xFF))
    judged = {True: 0, False: 0}
    for _ in range(20_000):
        text = bytes(chance.choices(alphabet, k=chance.randint(0, 6)))
        try:
            text.decode("utf-8")
        except UnicodeDecodeError:
            valid = False
        else:
            valid = True
        assert is_utf8(text) == valid, text
        judged[valid] += 1
    assert min(judged.values()) > 100
