"""permessage-deflate (RFC 7692) with little memory: no context is kept from one message to the next."""

import zlib
from collections.abc import Iterable
from typing import Any

from autobahn.websocket.compress import (
    PerMessageDeflate,
    PerMessageDeflateOffer,
    PerMessageDeflateOfferAccept,
)

from config.frames import COMPRESSED_TEXT

COMPRESS_FROM = 1024  # bytes; what is smaller travels in one packet anyway

# A page of 50 messages, 17.6 KB, becomes 3.9 KB in 51 µs. With zlib's own choice (window 15, memory 8, level 6) it is
# 3.4 KB in 155 µs, and the compressor takes 256 KiB meanwhile instead of 32.
_WINDOW_BITS = 12
_MEMORY_LEVEL = 5
_LEVEL = 1

_EXTENSION = "permessage-deflate"


def accept(offers: Iterable[Any]) -> PerMessageDeflateOfferAccept | None:
    """Our answer to a client's offers: the first of deflate, without context takeover in either direction."""
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer):
            return _Acceptance(  # type: ignore[no-untyped-call]  # autobahn's types are partial
                offer,
                request_no_context_takeover=True,
                request_max_window_bits=_WINDOW_BITS if offer.accept_max_window_bits else 0,
                no_context_takeover=True,
                window_bits=min(_WINDOW_BITS, offer.request_max_window_bits or _WINDOW_BITS),
                mem_level=_MEMORY_LEVEL,
            )
    return None


def without_unusable_offers(extensions: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The client's offers without those of deflate that we cannot meet.

    RFC 7692 section 7 has a server decline an offer with a parameter that it does not know or support, such as a window
    of 8 bits; autobahn would refuse the handshake.
    """
    return [(name, parameters) for name, parameters in extensions if name != _EXTENSION or _is_usable(parameters)]


def _is_usable(parameters: dict[str, Any]) -> bool:
    try:
        PerMessageDeflateOffer.parse(parameters)  # type: ignore[no-untyped-call]  # autobahn's types are partial
    except Exception:  # noqa: BLE001  autobahn raises nothing more special
        return False
    return True


class _Acceptance(PerMessageDeflateOfferAccept):
    """autobahn's answer, which also tells a client that did not ask that we take no context over.

    RFC 7692 section 7.1.1.1 allows it; the client can then drop its window after each message.
    """

    def get_extension_string(self) -> str:
        """The value of the response's Sec-WebSocket-Extensions."""
        text: str = super().get_extension_string()  # type: ignore[no-untyped-call]  # autobahn's types are partial
        return text if self.offer.request_no_context_takeover else f"{text}; server_no_context_takeover"


class SlimDeflate(PerMessageDeflate):
    """autobahn's extension, but an idle connection keeps no zlib objects.

    autobahn keeps them from one message to the next although no context is taken over that could need them.
    """

    # What was compressed last, in any connection: text, window, result. A large frame for a whole group is compressed
    # once for all of its members: 0.3 µs instead of 10 for 1.3 KB.
    _last: tuple[bytes, int, bytes] = (b"", 0, b"")

    @classmethod
    def instead_of(cls, negotiated: Any) -> "SlimDeflate":
        """The same extension as negotiated."""
        return cls(
            is_server=True,
            server_no_context_takeover=negotiated.server_no_context_takeover,
            client_no_context_takeover=negotiated.client_no_context_takeover,
            server_max_window_bits=negotiated.server_max_window_bits,
            client_max_window_bits=negotiated.client_max_window_bits,
            mem_level=negotiated.mem_level,
        )

    def end_decompress_message(self) -> None:
        """Check the end of the compressed message."""
        super().end_decompress_message()  # type: ignore[no-untyped-call]  # autobahn's types are partial
        self._decompressor = None

    def frame(self, payload: bytes) -> tuple[int, bytes]:
        """The first byte and the payload of the frame that carries this text compressed (RFC 7692 section 7.2.1)."""
        last, window, compressed = SlimDeflate._last
        if last is not payload or window != self.server_max_window_bits:
            compressed = _compress(payload, self.server_max_window_bits)
            SlimDeflate._last = (payload, self.server_max_window_bits, compressed)
        return COMPRESSED_TEXT, compressed


def _compress(payload: bytes, window_bits: int) -> bytes:
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -window_bits, _MEMORY_LEVEL)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
