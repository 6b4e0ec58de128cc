"""HTTP requests with a bounded body, which daphne would read into memory whatever its size."""

from typing import Any

from daphne.http_protocol import HTTPFactory, WebRequest

_TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class BoundedRequest(WebRequest):  # type: ignore[misc]  # daphne has no types
    """A request that is refused with 413 as soon as its body is known to be too large."""

    _received = 0  # bytes of the body
    _is_refused = False

    def gotLength(self, length: int | None) -> None:  # noqa: N802  Twisted's name
        """Look at the length that the client declares; None when it declares none."""
        super().gotLength(length)
        self._refuse_above(length or 0)

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802  Twisted's name
        """Take a part of the body."""
        self._received += len(data)
        self._refuse_above(self._received)
        if not self._is_refused:
            super().handleContentChunk(data)

    def process(self) -> Any:
        """Start the application, unless the request was refused."""
        return None if self._is_refused else super().process()

    def _refuse_above(self, size: int) -> None:
        if size > self.server.max_body_size and not self._is_refused:
            self._is_refused = True
            self.channel.transport.write(_TOO_LARGE)
            self.channel.loseConnection()


class BoundedRequestFactory(HTTPFactory):  # type: ignore[misc]  # daphne has no types
    """daphne's factory of HTTP connections, with bounded requests."""

    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802  Twisted's name
        """The protocol of a new connection."""
        protocol = super().buildProtocol(addr)
        protocol.requestFactory = BoundedRequest
        return protocol
