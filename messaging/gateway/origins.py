"""Which web pages may open a connection: those of our own origin and those that are listed.

Source: RFC 6454 section 7.3 (an opaque origin is sent as `null`), RFC 6455 section 10.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

Headers = Iterable[tuple[bytes, bytes]]


def header(headers: Headers, name: bytes) -> str | None:
    """Return a header's value, the first if there are several."""
    return next((value.decode("latin-1") for key, value in headers if key.lower() == name), None)


def is_welcome(headers: Headers, allowed: Sequence[str]) -> bool:
    """Return whether a handshake may come from where it says; native clients send no Origin and are welcome."""
    headers = list(headers)
    origin = header(headers, b"origin")
    if origin is None:
        return True
    if origin in allowed or "*" in allowed:
        return True
    try:
        return origin != "null" and urlsplit(origin).netloc.lower() == (header(headers, b"host") or "").lower()
    except ValueError:
        return False
