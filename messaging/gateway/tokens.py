"""Checking tokens: JWTs of the configured issuer, and those of this server's own API.

The signature is PyJWT's business, the claims are ours: PyJWT refuses integer `sub` and an `iat` ahead of our clock,
which real issuers send, and takes an `exp` that is a string. Each algorithm has its own key, whatever a token says.
Source: RFC 7519 for the claims, RFC 8725 for what goes wrong with algorithms.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jwt
from django.conf import settings

from messaging.gateway.issuer_keys import issuer_keys
from messaging.protocol.errors import TokenExpired, TokenInvalid
from messaging.services.tokens import JTI_MAX_CHARACTERS, OWN_ALGORITHM, OWN_ISSUER, SESSION_CLAIM

TOKEN_MAX_CHARACTERS = 16_384  # PyJWT looks at each character in Python: 1 MiB would hold the loop
LATEST = 253_370_764_800  # the year 9999; milliseconds taken for seconds are beyond it
NOT_BEFORE_LEEWAY_SECONDS = 10  # for issuers whose clock is ahead of ours
_INTEGER_MAX = 2**64
_UNSTORABLE = re.compile("[\ud800-\udfff\x00]")  # lone surrogates and NUL, in no database's text
_SIGNATURE_ONLY: Any = {
    "verify_signature": True,
    **{f"verify_{claim}": False for claim in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")},
}


@dataclass(frozen=True, slots=True)
class Claims:
    """What a good token says."""

    user_id: str  # `sub` as text, an integer too
    jti: str  # 1 to 255 characters without NUL
    expires_at: float  # seconds since the epoch
    issued_at: float | None  # the same; None if the token does not say
    session_jti: str | None  # id of the refresh token that it came from, or of the issuer's session
    is_refresh: bool = False  # good for new access tokens, and for nothing else


async def check_token(token: str) -> Claims:
    """Return what a token says that may open a session now.

    Raises:
        TokenInvalid: the signature or a claim is wrong, or it is a refresh token.
        TokenExpired: it was good once.
        ServerBusy: the issuer's public keys have not been had yet.

    """
    claims = await read_token(token)
    if claims.is_refresh:
        raise TokenInvalid("this is a refresh token")
    _check_expiry(claims)
    return claims


async def check_refresh_token(token: str) -> Claims:
    """Return what a refresh token says; whether it is one of ours, the services know.

    Raises:
        TokenInvalid: the signature or a claim is wrong, or it is no refresh token.
        TokenExpired: it was good once.
        ServerBusy: the issuer's public keys have not been had yet.

    """
    claims = await read_token(token)
    if not claims.is_refresh:
        raise TokenInvalid("this is no refresh token")
    _check_expiry(claims)
    return claims


async def read_token(token: str) -> Claims:
    """Return what any token with a good signature says, one that refreshes or has expired too.

    Raises:
        TokenInvalid: the signature or a claim is wrong.
        ServerBusy: the issuer's public keys have not been had yet.

    """
    if len(token) > TOKEN_MAX_CHARACTERS or not token.isascii():
        raise TokenInvalid("this is no token")
    try:
        key, algorithm = await _key_for(token)
        payload = jwt.decode(token, key, algorithms=[algorithm], options=_SIGNATURE_ONLY)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):  # of what is no JWT at all, PyJWT raises all four
        raise TokenInvalid("its form or its signature is wrong") from None
    if algorithm != settings.JWT_ALGORITHM and payload.get("iss") != OWN_ISSUER:
        # A server that was moved from HS256 to public keys takes its former issuer's tokens no more.
        raise TokenInvalid("it is signed with another algorithm than this server takes")
    return _claims(payload)


async def _key_for(token: str) -> tuple[Any, str]:
    """Return the key to check a token with, and the one algorithm it is for.

    The token's header chooses between two pairs of both at the most, so that no key is used with the other's algorithm.
    """
    algorithm: str = settings.JWT_ALGORITHM
    if algorithm == OWN_ALGORITHM:
        return settings.JWT_SECRET, OWN_ALGORITHM
    header = jwt.get_unverified_header(token)
    if header.get("alg") == OWN_ALGORITHM:
        return settings.JWT_SECRET, OWN_ALGORITHM
    if header.get("alg") != algorithm:
        raise TokenInvalid("it is signed with another algorithm than this server takes")
    if settings.JWT_PUBLIC_KEY:
        return _public_key(algorithm, settings.JWT_PUBLIC_KEY), algorithm
    return await issuer_keys(settings.JWT_JWKS_URL, algorithm).find(header.get("kid")), algorithm


@lru_cache(maxsize=4)
def _public_key(algorithm: str, pem: str) -> Any:
    """Return the issuer's key, parsed once."""
    return jwt.get_algorithm_by_name(algorithm).prepare_key(pem)


def _claims(payload: dict[str, Any]) -> Claims:
    expires_at = _moment(payload, "exp")
    if expires_at is None:
        raise TokenInvalid("it has no exp")
    not_before = _moment(payload, "nbf")
    if not_before is not None and not_before > time.time() + NOT_BEFORE_LEEWAY_SECONDS:
        raise TokenInvalid("it is not good yet (nbf)")
    session = payload.get(SESSION_CLAIM)
    return Claims(
        user_id=_user_id(payload.get("sub")),
        jti=_text(payload.get("jti"), "jti"),
        expires_at=expires_at,
        issued_at=_moment(payload, "iat"),
        session_jti=session if _is_text(session) else None,  # other issuers may mean something else by it
        is_refresh=payload.get("token_type") == "refresh",
    )


def _moment(payload: dict[str, Any], claim: str) -> float | None:
    """Return a time in seconds since the epoch, None if there is none; JSON may also hold NaN, 10^400 or a string."""
    value = payload.get(claim)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LATEST:
        raise TokenInvalid(f"its {claim} is no time")
    return float(value)


def _user_id(sub: object) -> str:
    if isinstance(sub, int) and not isinstance(sub, bool) and abs(sub) < _INTEGER_MAX:
        return str(sub)
    return _text(sub, "sub")


def _text(value: Any, claim: str) -> str:
    if not _is_text(value):
        raise TokenInvalid(f"its {claim} is not 1 to {JTI_MAX_CHARACTERS} characters")
    return str(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= JTI_MAX_CHARACTERS and not _UNSTORABLE.search(value)


def _check_expiry(claims: Claims) -> None:
    if claims.expires_at <= time.time():
        raise TokenExpired
