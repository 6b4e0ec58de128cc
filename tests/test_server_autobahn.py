"""The cases 1 to 7 and 9 to 10 of Autobahn's test suite for WebSocket servers, written down as data.

The suite itself runs on Python 2 only. Names are the suite's numbers; cases that differ in size alone are one line. The
server echoes. What precedes a violation in the same breath may or may not be echoed (the suite calls both right).
"""

import itertools
from collections.abc import Iterator, Sequence

import pytest

from tests.server_socket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    AppServer,
    Frame,
    RawClient,
    close_frame,
    frame,
)

PROTOCOL_ERROR = 1002
NOT_UTF8 = 1007
TOO_BIG = 1009
MIB = 1_048_576
HELLO = frame(TEXT, b"Hello, world!")

Case = tuple[
    str, Sequence[bytes], Sequence[Frame | int]
]  # name, what is sent in pieces, frames and perhaps a close code


@pytest.fixture(scope="module")
def server() -> Iterator[AppServer]:
    """An echo server for all cases."""
    with AppServer() as server:
        yield server


def in_pieces(data: bytes, size: int) -> list[bytes]:
    """The data in pieces of this size, each sent by itself."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def fragments(payload: bytes, size: int, opcode: int = TEXT) -> list[bytes]:
    """A message in frames of this size."""
    parts = in_pieces(payload, size) or [b""]
    return [
        frame(CONTINUATION if number else opcode, part, fin=number == len(parts) - 1)
        for number, part in enumerate(parts)
    ]


def echoes() -> Iterator[Case]:
    """1: text and binary messages of all ways to write a length, whole and chopped."""
    for group, opcode, character in ((1, TEXT, b"*"), (2, BINARY, b"\xfe")):
        for number, size in enumerate((0, 125, 126, 127, 128, 65_535, 65_536), 1):
            payload = character * size
            yield f"1.{group}.{number}", [frame(opcode, payload)], [Frame(opcode, payload)]
        payload = character * 65_536
        yield f"1.{group}.8", in_pieces(frame(opcode, payload), 997), [Frame(opcode, payload)]


def pings() -> Iterator[Case]:
    """2: pings are answered with their payload, pongs nobody asked for are ignored."""
    for number, payload in ((1, b""), (2, b"Hello, world!"), (3, bytes((0, 255, 254, 253))), (4, b"\xfe" * 125)):
        yield f"2.{number}", [frame(PING, payload)], [Frame(PONG, payload)]
    yield "2.5", [frame(PING, b"\xfe" * 126)], [PROTOCOL_ERROR]
    yield "2.6", in_pieces(frame(PING, b"\xfe" * 125), 1), [Frame(PONG, b"\xfe" * 125)]
    yield "2.7", [frame(PONG)], []
    yield "2.8", [frame(PONG, b"unsolicited pong payload")], []
    yield "2.9", [frame(PONG, b"unsolicited"), frame(PING, b"ping")], [Frame(PONG, b"ping")]
    many = [b"payload-%d" % number for number in range(10)]
    yield "2.10", [frame(PING, payload) for payload in many], [Frame(PONG, payload) for payload in many]
    yield (
        "2.11",
        [piece for payload in many for piece in in_pieces(frame(PING, payload), 1)],
        [Frame(PONG, payload) for payload in many],
    )


def reserved_bits() -> Iterator[Case]:
    """3: bits that no extension has given a meaning."""
    yield "3.1", [frame(TEXT, b"small", rsv=1)], [PROTOCOL_ERROR]
    yield "3.2", [HELLO, frame(TEXT, b"small", rsv=2), frame(PING)], [PROTOCOL_ERROR]
    yield "3.3", [HELLO + frame(TEXT, b"small", rsv=3) + frame(PING)], [PROTOCOL_ERROR]
    yield "3.4", in_pieces(HELLO + frame(TEXT, b"small", rsv=4) + frame(PING), 1), [PROTOCOL_ERROR]
    yield "3.5", [frame(BINARY, b"\x00\xff", rsv=5)], [PROTOCOL_ERROR]
    yield "3.6", [frame(PING, b"\x00\xff", rsv=6)], [PROTOCOL_ERROR]
    yield "3.7", [frame(CLOSE, rsv=7)], [PROTOCOL_ERROR]


def reserved_opcodes() -> Iterator[Case]:
    """4: opcodes that mean nothing yet."""
    for group, opcodes in ((1, (3, 4, 5, 6, 7)), (2, (11, 12, 13, 14, 15))):
        for number, opcode in enumerate(opcodes, 1):
            yield f"4.{group}.{number} alone", [frame(opcode)], [PROTOCOL_ERROR]
            yield f"4.{group}.{number} payload", [frame(opcode, b"reserved")], [PROTOCOL_ERROR]
            yield f"4.{group}.{number} between", [HELLO + frame(opcode, b"x") + frame(PING)], [PROTOCOL_ERROR]
            yield (
                f"4.{group}.{number} chopped",
                in_pieces(HELLO + frame(opcode, b"x") + frame(PING), 1),
                [PROTOCOL_ERROR],
            )


def fragmentation() -> Iterator[Case]:
    """5: messages of several frames, and control frames between them."""
    first, second = frame(TEXT, b"fragment1", fin=False), frame(CONTINUATION, b"fragment2")
    ping, pong, echo = frame(PING, b"ping"), Frame(PONG, b"ping"), Frame(TEXT, b"fragment1fragment2")
    go_on = frame(CONTINUATION, b"non-continuation payload")
    yield "5.1", [frame(PING, b"frag", fin=False), frame(CONTINUATION, b"ment")], [PROTOCOL_ERROR]
    yield "5.2", [frame(PONG, b"frag", fin=False), frame(CONTINUATION, b"ment")], [PROTOCOL_ERROR]
    yield "5.3", [first, second], [echo]
    yield "5.4", [first + second], [echo]
    yield "5.5", in_pieces(first + second, 1), [echo]
    yield "5.6", [first, ping, second], [pong, echo]
    yield "5.7", [first + ping + second], [pong, echo]
    yield "5.8", in_pieces(first + ping + second, 1), [pong, echo]
    for number, fin in enumerate((True, True, True, False, False, False), 9):
        wrong = frame(CONTINUATION, b"non-continuation payload", fin=fin)
        pieces = ([wrong, HELLO], [wrong + HELLO], in_pieces(wrong + HELLO, 1))[(number - 9) % 3]
        yield f"5.{number}", pieces, [PROTOCOL_ERROR]
    yield "5.15", [first + second + go_on], [PROTOCOL_ERROR]
    yield "5.16", [frame(CONTINUATION, b"fragment1", fin=False) + HELLO] * 2, [PROTOCOL_ERROR]
    yield "5.17", [frame(CONTINUATION, b"fragment1") + HELLO] * 2, [PROTOCOL_ERROR]
    yield "5.18", [first, frame(TEXT, b"fragment2")], [PROTOCOL_ERROR]
    five = [frame(CONTINUATION, b"fragment%d" % number, fin=number == 5) for number in range(2, 6)]
    whole = b"".join(b"fragment%d" % number for number in range(1, 6))
    mixed = [first, five[0], frame(PING, b"pongme 1"), *five[1:3], frame(PING, b"pongme 2"), five[3]]
    answers = [Frame(PONG, b"pongme 1"), Frame(PONG, b"pongme 2"), Frame(TEXT, whole)]
    yield "5.19", mixed, answers
    yield "5.20", in_pieces(b"".join(mixed), 1), answers


def closing() -> Iterator[Case]:
    """7: the closing handshake; a client's code comes back to it."""
    yield "7.1.1", [HELLO], [Frame(TEXT, b"Hello, world!")]
    yield "7.1.2", [close_frame(1000) * 2], [1000]
    yield "7.1.3", [close_frame(1000) + frame(PING)], [1000]
    yield "7.1.4", [close_frame(1000) + HELLO], [1000]
    yield "7.1.5", [frame(TEXT, b"one", fin=False) + close_frame(1000) + frame(CONTINUATION, b"two")], [1000]
    big = frame(TEXT, b"BAsd7&jh23" * 26_214)
    yield "7.1.6", [big + HELLO + close_frame(1000) + frame(PING)], [1000]
    yield "7.3.1", [frame(CLOSE)], [1005]
    yield "7.3.2", [frame(CLOSE, b"a")], [PROTOCOL_ERROR]
    yield "7.3.3", [close_frame(1000)], [1000]
    yield "7.3.4", [close_frame(1000, b"Hello World!")], [1000]
    yield "7.3.5", [close_frame(1000, b"*" * 123)], [1000]
    yield "7.3.6", [close_frame(1000, b"*" * 124)], [PROTOCOL_ERROR]
    yield "7.5.1", [close_frame(1000, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited")], [NOT_UTF8]
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
        yield f"7.7 {code}", [close_frame(code)], [code]
    for code in (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535):
        yield f"7.9 and 7.13 {code}", [close_frame(code)], [PROTOCOL_ERROR]


def limits() -> Iterator[Case]:
    """9: large messages, up to this server's limit of 1 MiB and beyond."""
    for group, opcode in ((1, TEXT), (2, BINARY)):
        for number, size in enumerate((65_536, 262_144, MIB), 1):
            yield f"9.{group}.{number}", [frame(opcode, b"*" * size)], [Frame(opcode, b"*" * size)]
        yield f"9.{group}.4", [frame(opcode, b"*" * (MIB + 1))], [TOO_BIG]
        yield f"9.{group}.5", [frame(opcode, b"*" * (4 * MIB))], [TOO_BIG]
    # The client's close frame then counts as part of what it announced; the connection ends nevertheless.
    yield "9.1.6", [frame(TEXT, b"", size=1 << 62)], [TOO_BIG]
    for group, opcode in ((3, TEXT), (4, BINARY)):
        for number, size in enumerate((64, 256, 1024, 4096, 16_384, 65_536, 262_144, MIB), 1):
            parts = fragments(b"*" * 131_072 if size < 1024 else b"*" * MIB, size, opcode)
            yield f"9.{group}.{number}", [b"".join(parts)], [Frame(opcode, b"*" * (131_072 if size < 1024 else MIB))]
        yield f"9.{group}.9", [b"".join(fragments(b"*" * (MIB + 1), 65_536, opcode))], [TOO_BIG]
    for group, opcode in ((5, TEXT), (6, BINARY)):
        for number, size in enumerate((64, 128, 256, 512, 1024, 2048), 1):
            data = frame(opcode, b"*" * (16_384 if size < 512 else MIB))
            yield f"9.{group}.{number}", in_pieces(data, size), [Frame(opcode, b"*" * (16_384 if size < 512 else MIB))]
    for group, opcode in ((7, TEXT), (8, BINARY)):
        for number, size in enumerate((0, 16, 64, 256, 1024, 4096), 1):
            payloads = [b"%0*d" % (size, count) if size else b"" for count in range(1000 if size < 4096 else 100)]
            yield (
                f"9.{group}.{number}",
                [b"".join(frame(opcode, payload) for payload in payloads)],
                [Frame(opcode, payload) for payload in payloads],
            )
    yield "10.1.1", [b"".join(fragments(b"*" * 65_536, 1300))], [Frame(TEXT, b"*" * 65_536)]


def masks() -> Iterator[Case]:
    """Not in the suite: frames have to be masked (RFC 6455 section 5.1), with whatever mask."""
    for opcode in (TEXT, BINARY, PING, CLOSE):
        yield f"unmasked {opcode}", [frame(opcode, b"", mask=None)], [PROTOCOL_ERROR]
    for mask in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1", b"\1\0\0\0"):
        for size in (1, 3, 4, 5, 126, 1_501):
            payload = b"0123456789"[:size] * (1 + size // 10)
            yield f"mask {mask.hex()} {size}", [frame(TEXT, payload, mask=mask)], [Frame(TEXT, payload)]


def lengths() -> Iterator[Case]:
    """Not in the suite: lengths that are not written in the shortest way (section 5.2)."""
    yield "two bytes for 5", [b"\x81\xfe\x00\x05\0\0\0\0Hello"], [PROTOCOL_ERROR]
    yield "two bytes for 125", [b"\x81\xfe\x00\x7d\0\0\0\0" + b"*" * 125], [PROTOCOL_ERROR]
    yield "eight bytes for 5", [b"\x81\xff" + (5).to_bytes(8, "big") + b"\0\0\0\0Hello"], [PROTOCOL_ERROR]
    yield "eight bytes for 65535", [b"\x81\xff" + (65_535).to_bytes(8, "big") + b"\0\0\0\0"], [PROTOCOL_ERROR]
    yield "more than 63 bits", [b"\x81\xff" + (1 << 63).to_bytes(8, "big") + b"\0\0\0\0"], [PROTOCOL_ERROR]


CASES = list(
    itertools.chain(
        *(echoes(), pings(), reserved_bits(), reserved_opcodes(), fragmentation(), closing(), limits()),
        *(masks(), lengths()),
    )
)


@pytest.mark.parametrize(("sent", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_frames_are_answered_as_the_suite_demands(
    server: AppServer, sent: Sequence[bytes], expected: Sequence[Frame | int]
) -> None:
    """Every case gets its frames in order, and at a violation the close code that names it."""
    with server.connect() as client:
        violation = expected[-1] if expected and isinstance(expected[-1], int) else None
        for piece in sent:
            client.send(piece)
        if violation is not None:
            assert client.close_code() == violation
            return
        for wanted in expected:
            assert client.read() == wanted
        assert_still_serves(client)


def assert_still_serves(client: RawClient) -> None:
    """Expect that nothing else has come, and that the connection closes as it should."""
    client.send(frame(PING, b"still there"))
    assert client.read() == Frame(PONG, b"still there")
    client.send(close_frame(1000))
    assert client.close_code() == 1000
