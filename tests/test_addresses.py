"""Whose address counts: the peer's, and what trusted proxies say beyond it."""

import pytest
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st

from messaging.gateway.addresses import client_address, forwarded_for, networks

pytestmark = pytest.mark.any_stack

PROXIES = networks(("10.0.0.0/8", "2001:db8::1"))


@pytest.mark.parametrize(
    ("peer", "header", "address"),
    [
        ("192.0.2.1", None, "192.0.2.1"),
        ("192.0.2.1", "198.51.100.9", "192.0.2.1"),  # anybody can write a header
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.9", "198.51.100.9"),
        ("10.0.0.1", "203.0.113.7, 198.51.100.9", "198.51.100.9"),  # the left one is the client's own invention
        ("10.0.0.1", "198.51.100.9, 10.0.0.2", "198.51.100.9"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),  # all are ours
        ("10.0.0.1", "198.51.100.9, unknown", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.9, unknown, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "198.51.100.9:51234", "198.51.100.9"),
        ("10.0.0.1", "[2001:db8::7]:443", "2001:db8::7"),
        ("10.0.0.1", "2001:DB8:0::7", "2001:db8::7"),
        ("2001:db8::1", "198.51.100.9", "198.51.100.9"),
        ("::ffff:10.0.0.1", "198.51.100.9", "198.51.100.9"),
        ("::ffff:192.0.2.1", "198.51.100.9", "192.0.2.1"),
        ("", "198.51.100.9", ""),
    ],
)
def test_the_client_is_the_last_hop_that_no_trusted_proxy_vouches_beyond(
    peer: str, header: str | None, address: str
) -> None:
    """Hops are believed from the right, as far as they are trusted proxies."""
    assert client_address(peer, header, PROXIES) == address


def test_nobody_is_trusted_by_default() -> None:
    """Without trusted proxies the header is nothing but noise, from this very machine too."""
    assert client_address("127.0.0.1", "198.51.100.9", ()) == "127.0.0.1"


@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(header=st.text(alphabet="0123456789abcdef.:,[] %\x00é"))
def test_any_header_gives_some_address(header: str) -> None:
    """Whatever stands in the header, there is an answer, and from an untrusted peer always the peer."""
    assert client_address("10.0.0.1", header, PROXIES)
    assert client_address("192.0.2.1", header, PROXIES) == "192.0.2.1"


def test_several_headers_are_one_list() -> None:
    """A proxy may append its value as a header of its own."""
    headers = [(b"x-forwarded-for", b"198.51.100.9"), (b"host", b"chat"), (b"X-Forwarded-For", b"10.0.0.2")]
    assert forwarded_for(headers) == "198.51.100.9,10.0.0.2"
    assert forwarded_for([(b"host", b"chat")]) is None


def test_operators_may_write_addresses_and_networks() -> None:
    """A network may be written with any address in it."""
    assert [str(network) for network in networks(("10.0.0.7", "192.168.5.5/16", "::1"))] == [
        "10.0.0.7/32",
        "192.168.0.0/16",
        "::1/128",
    ]
