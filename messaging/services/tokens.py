"""Issuing tokens of this server's own, and revoking anybody's.

A revoked token is a row in simplejwt's tables by its `jti`, whoever issued it; its text is never stored, since a dump
of the database must hold no logins. A cutoff revokes all tokens of a user issued until a moment of the database's
clock. Our own tokens carry their `iat` by that clock and with its fractions, so that one issued just after a cutoff
works at once. Other issuers write whole seconds, rounded down: each of their tokens from before a cutoff is refused,
and so is what they issue in the rest of the cutoff's second.
"""

from __future__ import annotations

import datetime as dt
import logging
from typing import NamedTuple, Protocol

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.db.models import F
from django.db.models.functions import Greatest
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken, Token

from messaging.delivery import log
from messaging.delivery.caller import Identity
from messaging.delivery.memberships import user_key as to_user_key
from messaging.delivery.news import Revoked
from messaging.delivery.profiles import UserKey
from messaging.errors import InsufficientPermissions
from messaging.models import TokenCutoff
from messaging.protocol.errors import AuthError, TokenInvalid
from messaging.services.sessions import Credentials, identify

logger = logging.getLogger(__name__)
OWN_ALGORITHM = "HS256"  # of tokens of our own, whatever other issuers sign with
OWN_ISSUER = "messaging-service"  # the `iss` of tokens of our own
SESSION_CLAIM = "sid"  # in an access token: the `jti` of the refresh token that it came from
JTI_MAX_CHARACTERS = 255  # what the tables of revoked tokens hold
NEVER = dt.datetime(9999, 1, 1, tzinfo=dt.UTC)  # when the token of an unknown expiry is certain to have expired
CUTOFF_REASON = "all tokens of the user were revoked"


class DatedCredentials(Credentials, Protocol):
    """What a token with a good signature says, with its end."""

    @property
    def expires_at(self) -> float:
        """When it ends, in seconds since the epoch."""


class TokenPair(NamedTuple):
    """A login: both tokens as they stand on the wire."""

    access: str
    refresh: str


def issue_token_pair(user: AbstractBaseUser) -> TokenPair:
    """Issue the tokens of a new session. Must be called inside a transaction."""
    issued_at = log.now()
    refresh = _new(RefreshToken, str(user.pk), issued_at)
    OutstandingToken.objects.create(
        user_id=user.pk, jti=refresh["jti"], token="", created_at=issued_at, expires_at=_moment(refresh["exp"])
    )
    access = _new_access_token(str(user.pk), issued_at, session_jti=refresh["jti"], session_ends=refresh["exp"])
    return TokenPair(access, str(refresh))


def issue_access_token(user: AbstractBaseUser) -> str:
    """Issue one access token that belongs to no session and cannot be refreshed."""
    return str(_new(AccessToken, str(user.pk), log.now()))


def refresh_access_token(credentials: DatedCredentials) -> str:
    """Issue a new access token for a refresh token with a good signature.

    Raises:
        TokenInvalid: another issuer made it: its own record of revocations is not ours.
        AuthError: it or its user may not come in any more.

    """
    issued_at = log.now()  # before the checks: a cutoff that they miss is later than this token
    user = check_credentials(credentials)
    if not OutstandingToken.objects.filter(jti=credentials.jti).exists():
        raise TokenInvalid("this server did not issue it")
    return _new_access_token(
        user.user_id, issued_at, session_jti=credentials.jti, session_ends=int(credentials.expires_at)
    )


def check_credentials(credentials: Credentials) -> Identity:
    """Return the user of a token.

    Raises:
        AuthError: the token is revoked, or its user is inactive or gone.

    """
    found = identify([credentials])[0]
    if isinstance(found, AuthError):
        raise found
    return found


def revoke_presented(caller: Credentials, token: DatedCredentials) -> None:
    """Revoke a token that its user, or a member of the staff, has presented. Must be called inside a transaction.

    Raises:
        AuthError: the caller's own token is revoked, or its user is inactive or gone.
        InsufficientPermissions: it is somebody else's token.

    """
    identity = check_credentials(caller)
    if token.user_id != identity.user_id and not _is_staff(identity.key):
        raise InsufficientPermissions("only staff may revoke the tokens of others")
    revoke_token(jti=token.jti, expires_at=_moment(token.expires_at), user_key=to_user_key(token.user_id))


def revoke_token(*, jti: str, expires_at: dt.datetime | None, user_key: UserKey | None = None) -> bool:
    """Revoke one token and, of a refresh token of ours, the access tokens that came from it; close their sessions.

    Must be called inside a transaction.

    Args:
        jti: the token's id, whoever issued it.
        expires_at: its end, until which the revocation is kept; None if it is unknown.
        user_key: whose it is, for the record.

    Returns:
        Whether it was good until now.

    """
    moment = log.now()
    outstanding, is_new = OutstandingToken.objects.get_or_create(
        jti=jti, defaults={"user_id": _existing(user_key), "token": "", "expires_at": expires_at or NEVER}
    )
    if not is_new:
        _shorten_nothing(outstanding, expires_at)
    revoked, was_good = BlacklistedToken.objects.get_or_create(token=outstanding)
    if was_good:
        # The model has put this process's time there; workers look for revocations by the database's.
        BlacklistedToken.objects.filter(pk=revoked.pk).update(blacklisted_at=moment)
        logger.info("the token %s was revoked", jti.encode("unicode_escape").decode())
    log.announce(Revoked(jti=jti))
    return was_good


def revoke_user(user_key: UserKey) -> dt.datetime:
    """Revoke every token of a user issued until now, and close their sessions; return the cutoff.

    Must be called inside a transaction.
    """
    cutoff = log.now()
    TokenCutoff.objects.update_or_create(
        user_id=user_key,
        # Of two at once the later one counts, whichever comes last.
        defaults={"revoked_before": Greatest(F("revoked_before"), cutoff), "changed_at": cutoff},
        create_defaults={"revoked_before": cutoff, "changed_at": cutoff},
    )
    logger.info("the tokens of user %s issued until %s were revoked", user_key, cutoff.isoformat())
    log.announce(Revoked(user_id=str(user_key), issued_until=cutoff.timestamp(), reason=CUTOFF_REASON))
    return cutoff


def _new(kind: type[Token], user_id: str, issued_at: dt.datetime) -> Token:
    token = kind()  # with `jti`, `exp` and `token_type`
    token["sub"] = user_id
    token["iss"] = OWN_ISSUER
    token["iat"] = issued_at.timestamp()
    return token


def _new_access_token(user_id: str, issued_at: dt.datetime, *, session_jti: str, session_ends: int) -> str:
    """Return an access token of a session, which does not outlive it: a revocation is kept until then."""
    token = _new(AccessToken, user_id, issued_at)
    token[SESSION_CLAIM] = session_jti
    token["exp"] = min(token["exp"], session_ends)
    return str(token)


def _shorten_nothing(outstanding: OutstandingToken, expires_at: dt.datetime | None) -> None:
    """Keep the later end: some issuers give several tokens of a session one `jti`."""
    if expires_at is not None and expires_at > outstanding.expires_at:
        OutstandingToken.objects.filter(pk=outstanding.pk).update(expires_at=expires_at)


def _existing(key: UserKey | None) -> UserKey | None:
    users = get_user_model()._default_manager  # noqa: SLF001 — Django's public name for it
    return key if key is not None and users.filter(pk=key).exists() else None


def _is_staff(key: UserKey) -> bool:
    user = get_user_model()._default_manager.get(pk=key)  # noqa: SLF001
    return bool(getattr(user, "is_staff", False))


def _moment(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
