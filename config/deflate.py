"""permessage-deflate (RFC 7692) with little memory: no context is kept from one message to the next."""

import zlib
from collections.abc import Iterable
from typing import Any

from autobahn.websocket.compress import (
    PerMessageDeflate,
    PerMessageDeflateOffer,
    PerMessageDeflateOfferAccept,
)

COMPRESS_FROM = 1024  # bytes; a smaller frame is hardly smaller compressed, and costs more than it saves

WINDOW_BITS = 12
_MEMORY_LEVEL = 5


def accept(offers: Iterable[Any]) -> PerMessageDeflateOfferAccept | None:
    """Our answer to a client's offers: the first of deflate, without context takeover in either direction."""
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer):
            return PerMessageDeflateOfferAccept(  # type: ignore[no-untyped-call]  # autobahn's types are partial
                offer,
                request_no_context_takeover=True,
                request_max_window_bits=WINDOW_BITS if offer.accept_max_window_bits else 0,
                no_context_takeover=True,
                window_bits=min(WINDOW_BITS, offer.request_max_window_bits or WINDOW_BITS),
                mem_level=_MEMORY_LEVEL,
            )
    return None


class SlimDeflate(PerMessageDeflate):
    """autobahn's extension, but an idle connection keeps no zlib objects.

    Without this a connection that has once received and sent a compressed message keeps about 110 KiB, although no
    context is taken over that could need them.
    """

    @classmethod
    def instead_of(cls, negotiated: PerMessageDeflate) -> "SlimDeflate":
        """The same extension as negotiated."""
        return cls(
            negotiated._is_server,  # noqa: SLF001  autobahn offers no other way to read it
            negotiated.server_no_context_takeover,
            negotiated.client_no_context_takeover,
            negotiated.server_max_window_bits,
            negotiated.client_max_window_bits,
            negotiated.mem_level,
            negotiated.max_message_size,
        )

    def end_compress_message(self) -> bytes:
        """The rest of the compressed message."""
        rest: bytes = super().end_compress_message()  # type: ignore[no-untyped-call]  # autobahn's types are partial
        self._compressor = None
        return rest

    def end_decompress_message(self) -> None:
        """Check the end of the compressed message."""
        super().end_decompress_message()  # type: ignore[no-untyped-call]  # autobahn's types are partial
        self._decompressor = None


def compress(payload: bytes, window_bits: int) -> bytes:
    """The payload as one compressed message (RFC 7692 section 7.2.1)."""
    compressor = zlib.compressobj(wbits=-window_bits, memLevel=_MEMORY_LEVEL)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
