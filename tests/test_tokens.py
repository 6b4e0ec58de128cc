"""What is accepted as a token: what is wrong with one is TOKEN_INVALID or TOKEN_EXPIRED, and nothing else happens."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings as service_settings
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from messaging.gateway import issuer_keys
from messaging.gateway.issuer_keys import IssuerKeys
from messaging.gateway.tokens import TOKEN_MAX_CHARACTERS, Claims, check_refresh_token, check_token, read_token
from messaging.protocol.errors import ServerBusy, TokenExpired, TokenInvalid
from messaging.services.tokens import OWN_ISSUER

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.any_stack

RSA_KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
OTHER_RSA_KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims with changes; a claim given as None is left out."""
    now = int(time.time())
    usual = {"sub": "7", "jti": "j-1", "iat": now, "exp": now + 3_600}
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


def signed(payload: dict[str, Any], key: Any = None, algorithm: str = "HS256", **header: Any) -> str:
    """A token as its issuer makes it."""
    return jwt.encode(payload, key or service_settings.JWT_SECRET, algorithm=algorithm, headers=header)


def handmade(payload: bytes, header: bytes = b'{"alg":"HS256","typ":"JWT"}', *, secret: str | None = None) -> str:
    """A token of any bytes at all, with a good HS256 signature."""
    body = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (header, payload))
    digest = hmac.digest((secret or service_settings.JWT_SECRET).encode(), body, hashlib.sha256)
    return (body + b"." + base64.urlsafe_b64encode(digest).rstrip(b"=")).decode()


def pem(key: PrivateKeyTypes) -> str:
    """The public half of a key, as operators configure it."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def outcome(token: str) -> Claims | TokenInvalid | TokenExpired:
    """What checking a token comes to; any other error passes through."""
    try:
        return asyncio.run(check_token(token))
    except (TokenInvalid, TokenExpired) as error:
        return error


# Claims.


async def test_a_good_token_says_who_and_until_when() -> None:
    """Every claim that the service uses is read."""
    payload = claims(sub="ann", jti="j" * 255, iat=1_700_000_000.5, sid="session", token_type="access")
    assert await check_token(signed(payload)) == Claims(
        user_id="ann",
        jti="j" * 255,
        expires_at=float(payload["exp"]),
        issued_at=1_700_000_000.5,
        session_jti="session",
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sub": 7}, {"user_id": "7"}),
        ({"sub": 0}, {"user_id": "0"}),
        ({"sub": "Zoë 🦊"}, {"user_id": "Zoë 🦊"}),
        ({"iat": None}, {"issued_at": None}),
        ({"iat": int(time.time()) + 86_400}, {"issued_at": float(int(time.time()) + 86_400)}),
        ({"nbf": int(time.time()) + 5}, {}),  # an issuer whose clock is a little ahead
        ({"exp": 4_102_444_800.25}, {"expires_at": 4_102_444_800.25}),
        ({"aud": "somebody", "iss": "https://issuer.example"}, {}),
        ({"sid": 5}, {"session_jti": None}),
        ({"sid": "\x00"}, {"session_jti": None}),
        ({"token_type": "anything"}, {}),
    ],
)
async def test_what_real_issuers_send_is_accepted(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    """Integer `sub`, clocks ahead of ours, fractions and claims of others do no harm."""
    found = await check_token(handmade(json.dumps(claims(**changes)).encode()))
    assert {name: getattr(found, name) for name in expected} == expected


ABSURD: list[Any] = ["", [], {}, "x" * 256, "a\x00b", "\ud800", True, 1.5, float("nan")]
NO_TIMES: list[Any] = ["1900000000", "", [], {}, True, 10**18, -(10**18), 10**400, float("nan"), float("inf")]


@pytest.mark.parametrize(
    "payload",
    [
        *(claims(**{name: None}) for name in ("sub", "jti", "exp")),
        *(claims(sub=value) for value in [*ABSURD, 2**64, 10**400]),
        *(claims(jti=value) for value in [*ABSURD, 5]),
        *(claims(**{name: value}) for name in ("exp", "iat", "nbf") for value in NO_TIMES),
        claims(exp=int(time.time() * 1_000) + 3_600_000),  # milliseconds
        claims(nbf=int(time.time()) + 3_600),
        claims(token_type="refresh"),
    ],
    ids=lambda payload: json.dumps(payload)[:80],
)
async def test_an_absurd_claim_makes_a_token_invalid(payload: dict[str, Any]) -> None:
    """Wrong types, sizes and times are refused, and a refresh token opens no session."""
    with pytest.raises(TokenInvalid):
        await check_token(handmade(json.dumps(payload).encode()))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b'"7"',
        b"{",
        b"\xff",
        b"[" * 8_000,
        b'{"exp":' + b"9" * 5_000 + b"}",
        b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
    ],
    ids=lambda payload: repr(payload[:20]),
)
async def test_a_signed_payload_that_is_no_object_is_invalid(payload: bytes) -> None:
    """A signature makes no sense of what has none."""
    with pytest.raises(TokenInvalid):
        await check_token(handmade(payload))


@pytest.mark.parametrize("exp", [0, 1, -5, int(time.time()) - 1])
async def test_an_expired_token_is_told_so(exp: int) -> None:
    """Whoever had a good token once is told to fetch a new one."""
    with pytest.raises(TokenExpired):
        await check_token(signed(claims(exp=exp)))


async def test_a_refresh_token_is_checked_as_such() -> None:
    """It has to be one, and not to have expired; reading it asks for neither."""
    refresh, expired = signed(claims(token_type="refresh")), signed(claims(token_type="refresh", exp=5))
    assert (await check_refresh_token(refresh)).is_refresh
    assert (await read_token(expired)).expires_at == 5
    with pytest.raises(TokenExpired):
        await check_refresh_token(expired)
    with pytest.raises(TokenInvalid):
        await check_refresh_token(signed(claims()))


async def test_a_token_beyond_any_size_is_not_even_read() -> None:
    """A good signature over a megabyte buys no time of the server."""
    with pytest.raises(TokenInvalid):
        await check_token(signed(claims(padding="x" * TOKEN_MAX_CHARACTERS)))


# Signatures.


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
async def test_only_the_configured_algorithm_is_taken(algorithm: str) -> None:
    """The right secret under another algorithm is refused."""
    with pytest.raises(TokenInvalid):
        await check_token(signed(claims(), "s" * 64 + service_settings.JWT_SECRET, algorithm))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "nOnE"])
@pytest.mark.parametrize("configured", ["HS256", "RS256"])
async def test_a_token_without_signature_is_refused(settings: Settings, configured: str, algorithm: str) -> None:
    """`alg: none` in any spelling is nothing."""
    settings.JWT_ALGORITHM, settings.JWT_PUBLIC_KEY = configured, pem(RSA_KEY)
    header = json.dumps({"alg": algorithm}).encode()
    unsigned = handmade(json.dumps(claims()).encode(), header).rpartition(".")[0] + "."
    with pytest.raises(TokenInvalid):
        await check_token(unsigned)


async def test_another_secret_is_refused() -> None:
    """The signature is checked."""
    with pytest.raises(TokenInvalid):
        await check_token(signed(claims(), "another secret of more than 32 bytes"))


@pytest.mark.parametrize(("algorithm", "key"), [("RS256", RSA_KEY), ("ES256", EC_KEY)])
async def test_tokens_of_a_public_key_are_accepted(settings: Settings, algorithm: str, key: PrivateKeyTypes) -> None:
    """An issuer may sign with a private key of its own."""
    settings.JWT_ALGORITHM, settings.JWT_PUBLIC_KEY = algorithm, pem(key)
    assert (await check_token(signed(claims(), key, algorithm))).user_id == "7"


@pytest.mark.parametrize(
    "token",
    [
        handmade(json.dumps(claims()).encode(), secret=pem(RSA_KEY)),  # the classic confusion
        handmade(json.dumps(claims(iss=OWN_ISSUER)).encode(), secret=pem(RSA_KEY)),
        signed(claims()),  # a former issuer's
        signed(claims(), OTHER_RSA_KEY, "RS256"),
        signed(claims(), RSA_KEY, "RS512"),
        signed(claims(), RSA_KEY, "PS256"),
        signed(claims(), EC_KEY, "ES256"),
    ],
)
async def test_each_key_is_good_for_its_own_algorithm_only(settings: Settings, token: str) -> None:
    """With RS256 configured, neither other algorithms nor other keys pass."""
    settings.JWT_ALGORITHM, settings.JWT_PUBLIC_KEY = "RS256", pem(RSA_KEY)
    with pytest.raises(TokenInvalid):
        await check_token(token)


async def test_tokens_of_our_own_work_beside_a_public_key(settings: Settings) -> None:
    """The token API signs with the secret, whatever other issuers sign with."""
    settings.JWT_ALGORITHM, settings.JWT_PUBLIC_KEY = "RS256", pem(RSA_KEY)
    assert (await check_token(signed(claims(iss=OWN_ISSUER)))).user_id == "7"


# Anything at all.

# The machine may be busy, and Hypothesis makes its tables of characters within the first example.
_patient = hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_names = st.sampled_from(["sub", "jti", "exp", "iat", "nbf", "aud", "iss", "sid", "token_type"])
_headers = st.dictionaries(
    st.sampled_from(["alg", "typ", "kid", "crit", "b64", "jku", "x5c", "zip"]), _json, max_size=4
)


@_patient
@given(st.text())
def test_any_text_is_refused_politely(text: str) -> None:
    """What is no token at all is TOKEN_INVALID."""
    assert isinstance(outcome(text), TokenInvalid)


@_patient
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=5))
def test_any_bytes_in_the_form_of_a_token_are_refused(parts: list[bytes]) -> None:
    """Good base64 around nonsense is TOKEN_INVALID."""
    assert isinstance(outcome(".".join(base64.urlsafe_b64encode(part).decode() for part in parts)), TokenInvalid)


@_patient
@given(st.dictionaries(_names, _json))
def test_any_signed_claims_are_taken_or_refused(changes: dict[str, Any]) -> None:
    """Whatever an issuer signs, what comes out keeps its promises."""
    found = outcome(handmade(json.dumps({**claims(), **changes}).encode()))
    if isinstance(found, Claims):
        assert 1 <= len(found.jti) <= 255
        assert 1 <= len(found.user_id) <= 255
        assert "\x00" not in found.jti + found.user_id + (found.session_jti or "")
        (found.jti + found.user_id + (found.session_jti or "")).encode()  # no lone surrogates
        assert time.time() - 5 < found.expires_at < 1e12


@_patient
@given(_headers)
@pytest.mark.parametrize("configured", ["HS256", "RS256"])
def test_any_signed_header_is_taken_or_refused(configured: str, header: dict[str, Any]) -> None:
    """Only a header that names HS256, and nothing critical, passes; beside a public key none of an issuer's."""
    token = handmade(json.dumps(claims()).encode(), json.dumps(header).encode())
    before = service_settings.JWT_ALGORITHM, service_settings.JWT_PUBLIC_KEY
    service_settings.JWT_ALGORITHM, service_settings.JWT_PUBLIC_KEY = configured, pem(RSA_KEY)
    try:
        found = outcome(token)
    finally:
        service_settings.JWT_ALGORITHM, service_settings.JWT_PUBLIC_KEY = before
    assert isinstance(found, TokenInvalid) or configured == header["alg"] == "HS256"


_printable = st.characters(min_codepoint=33, max_codepoint=126)


@hypothesis_settings(_patient, max_examples=300)
@given(data=st.data())
def test_a_mangled_token_is_refused(data: st.DataObject) -> None:
    """A character lost, added or changed anywhere makes a token invalid."""
    token = signed(claims())
    place = data.draw(st.integers(0, len(token) - 1))
    length = data.draw(st.integers(0, 2))
    mangled = token[:place] + data.draw(st.text(_printable, max_size=2)) + token[place + length :]
    if mangled.rstrip("=") != token:  # padding, which RFC 7515 forbids, changes nothing
        assert isinstance(outcome(mangled), TokenInvalid)


# Keys that the issuer publishes.


class Issuer(ThreadingHTTPServer):
    """A token issuer's web server on this machine."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Keys)
        self.keys: list[dict[str, Any]] = []  # what it publishes
        self.answer: bytes | None = None  # something else in their place
        self.status = 200
        self.delay_seconds = 0.0
        self.requests = 0

    @property
    def url(self) -> str:
        """Where the keys are."""
        return f"http://127.0.0.1:{self.server_port}/jwks.json"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up."""


class _Keys(BaseHTTPRequestHandler):
    server: Issuer

    def do_GET(self) -> None:
        """Publish the keys."""
        self.server.requests += 1
        time.sleep(self.server.delay_seconds)
        body = self.server.answer or json.dumps({"keys": self.server.keys}).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 — the standard library's name
        """Say nothing."""


def published(key: PrivateKeyTypes, **fields: Any) -> dict[str, Any]:
    """A public key as issuers publish it."""
    algorithm: Any = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "use": "sig", **fields}


@pytest.fixture
def issuer(settings: Settings) -> Iterator[Issuer]:
    """An issuer whose first key is `k1`, and the settings that name it."""
    issuer = Issuer()
    issuer.keys = [published(RSA_KEY, kid="k1")]
    thread = threading.Thread(target=issuer.serve_forever, args=(0.01,))
    thread.start()
    settings.JWT_ALGORITHM, settings.JWT_PUBLIC_KEY, settings.JWT_JWKS_URL = "RS256", "", issuer.url
    yield issuer
    issuer.shutdown()
    thread.join()
    issuer.server_close()


def keys_of(issuer: Issuer) -> IssuerKeys:
    """What this process knows of an issuer's keys."""
    return issuer_keys.issuer_keys(issuer.url, "RS256")


def let_pass(issuer: Issuer, seconds: float) -> None:
    """Make this process believe that its last fetch was earlier."""
    keys_of(issuer)._tried_at -= seconds


def of_k1(**changes: Any) -> str:
    """A token of the first key."""
    return signed(claims(**changes), RSA_KEY, "RS256", kid="k1")


def of_k2() -> str:
    """A token of a key that the issuer may have published later."""
    return signed(claims(), OTHER_RSA_KEY, "RS256", kid="k2")


async def test_a_burst_of_tokens_makes_one_fetch(issuer: Issuer) -> None:
    """However many connect at once, the issuer is asked once, and later not again."""
    issuer.delay_seconds = 0.1
    found = await asyncio.gather(*(check_token(of_k1(jti=f"j-{number}")) for number in range(50)))
    assert {each.jti for each in found} == {f"j-{number}" for number in range(50)}
    await check_token(of_k1())
    assert issuer.requests == 1


async def test_an_unknown_key_is_fetched_at_most_every_30_seconds(issuer: Issuer) -> None:
    """Invented key ids do not make this server attack the issuer; a key that comes later is found."""
    await check_token(of_k1())
    for _ in range(5):
        with pytest.raises(TokenInvalid):
            await check_token(of_k2())
    assert issuer.requests == 1
    issuer.keys = [published(OTHER_RSA_KEY, kid="k2")]
    let_pass(issuer, 31)
    assert (await check_token(of_k2())).user_id == "7"
    assert issuer.requests == 2


async def test_the_last_good_keys_stay_while_the_issuer_is_away(issuer: Issuer) -> None:
    """An outage or nonsense at the issuer locks nobody out whose key is known."""
    await check_token(of_k1())
    useless = json.dumps({"keys": [published(EC_KEY, kid="k2")]}).encode()
    answers = [(500, b""), (200, b"<html>"), (200, b'{"keys": []}'), (200, b"[1]"), (200, useless)]
    for issuer.status, issuer.answer in answers:
        let_pass(issuer, 1_000)
        with pytest.raises(TokenInvalid):
            await check_token(of_k2())
        assert (await check_token(of_k1())).user_id == "7"
    assert issuer.requests == 1 + len(answers)


async def test_known_keys_are_renewed_in_the_background(issuer: Issuer) -> None:
    """A key that the issuer has withdrawn goes after some minutes, and nobody waits for that."""
    await check_token(of_k1())
    issuer.keys = [published(OTHER_RSA_KEY, kid="k2")]
    issuer.delay_seconds = 0.2
    let_pass(issuer, 301)
    assert (await check_token(of_k1())).user_id == "7"
    fetch = keys_of(issuer)._fetch
    assert fetch is not None
    await fetch
    with pytest.raises(TokenInvalid):
        await check_token(of_k1())
    assert (await check_token(of_k2())).user_id == "7"


async def test_an_issuer_that_was_never_there_means_later_not_never(issuer: Issuer) -> None:
    """A client keeps its token and comes back; the issuer is asked again after some seconds."""
    issuer.status = 503
    for _ in range(3):
        with pytest.raises(ServerBusy) as refused:
            await check_token(of_k1())
    assert isinstance(refused.value.retry_after, float)
    assert issuer.requests == 1
    issuer.status = 200
    let_pass(issuer, 6)
    assert (await check_token(of_k1())).user_id == "7"


async def test_a_slow_issuer_holds_up_nobody_else(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop goes on while keys are fetched, and a fetch that takes too long is given up."""
    monkeypatch.setattr(issuer_keys, "FETCH_SECONDS", 0.3)
    issuer.delay_seconds = 1.0
    checking = asyncio.create_task(check_token(of_k1()))
    turns, began = 0, time.monotonic()
    while not checking.done():
        await asyncio.sleep(0.01)
        turns += 1
    with pytest.raises(ServerBusy):
        await checking
    assert time.monotonic() - began < 0.9
    assert turns > 10


async def test_a_token_that_names_no_key_gets_the_only_one(issuer: Issuer) -> None:
    """Of one key there is no doubt; of two there is."""
    unnamed = signed(claims(), RSA_KEY, "RS256")
    assert (await check_token(unnamed)).user_id == "7"
    issuer.keys.append(published(OTHER_RSA_KEY, kid="k2"))
    let_pass(issuer, 31)
    await check_token(of_k2())
    with pytest.raises(TokenInvalid):
        await check_token(unnamed)


async def test_keys_for_other_uses_are_not_taken(issuer: Issuer) -> None:
    """Keys for encryption, for other algorithms and secrets that should not be there check no token."""
    issuer.keys = [
        published(RSA_KEY, kid="k1", use="enc"),
        published(RSA_KEY, kid="k2", alg="RS512"),
        published(EC_KEY, kid="k3"),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "k4"},
        published(OTHER_RSA_KEY, kid="k5"),
    ]
    for key_id in ("k1", "k2", "k3", "k4", "k5"):
        with pytest.raises(TokenInvalid):
            await check_token(signed(claims(), RSA_KEY, "RS256", kid=key_id))
    assert issuer.requests == 1


async def test_an_algorithm_that_is_not_ours_asks_the_issuer_nothing(issuer: Issuer) -> None:
    """Garbage makes no traffic."""
    with pytest.raises(TokenInvalid):
        await check_token(signed(claims(), EC_KEY, "ES256", kid="k1"))
    with pytest.raises(TokenInvalid):
        await check_token("nonsense")
    assert issuer.requests == 0
