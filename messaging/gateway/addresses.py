"""Whose address a request comes from: the peer's, unless a trusted proxy says for whom it speaks.

Each proxy appends the address of its own peer to `X-Forwarded-For`, so the list is believed from its right end only,
and only as far as the proxies are ours: what a client writes there itself stands to the left of that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def client_address(peer: str, forwarded_for: str | None, trusted: Sequence[Network]) -> str:
    """Return the address that limits count for.

    Args:
        peer: who opened the connection; what is no IP address (a Unix socket, say) comes back as it is.
        forwarded_for: the values of all `X-Forwarded-For` headers, joined with commas, or None.
        trusted: the proxies whose word counts.

    """
    address = _parse(peer)
    if address is None:
        return peer
    for hop in reversed((forwarded_for or "").split(",")):
        if not _is_trusted(address, trusted):
            break
        previous = _parse(hop)
        if previous is None:
            break
        address = previous
    return str(address)


def forwarded_for(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the values of all `X-Forwarded-For` headers of an ASGI scope, joined with commas; None without any."""
    values = [value.decode("latin-1") for name, value in headers if name.lower() == b"x-forwarded-for"]
    return ",".join(values) if values else None


@lru_cache(maxsize=8)
def networks(names: tuple[str, ...]) -> tuple[Network, ...]:
    """Return addresses and networks, as operators write them, as networks."""
    return tuple(ip_network(name, strict=False) for name in names)


def _is_trusted(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)


def _parse(text: str) -> Address | None:
    """Return the address in one entry: some proxies add the port, and IPv6 then stands in brackets."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address  # a socket of both families shows IPv4 clients as ::ffff:192.0.2.1
