"""Letting users in: token not revoked, user there and active, memberships read; a batch of connects in four queries."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken

from messaging.delivery.caller import Identity
from messaging.delivery.memberships import Membership, memberships_of, user_key
from messaging.delivery.profiles import UserKey, profile_of, remember
from messaging.models import TokenCutoff
from messaging.protocol.errors import AuthError, TokenRevoked, UserInactive, UserNotFound


class Credentials(Protocol):
    """What a token with a good signature says."""

    @property
    def user_id(self) -> str:
        """Whose it is."""

    @property
    def jti(self) -> str:
        """Its own id."""

    @property
    def issued_at(self) -> float | None:
        """When it was issued, in seconds since the epoch."""

    @property
    def session_jti(self) -> str | None:
        """The id of the refresh token that it came from."""


class Admission(msgspec.Struct, frozen=True):
    """A user let in, with their place in every conversation."""

    user: Identity
    memberships: list[Membership]


def admit(credentials: Sequence[Credentials]) -> list[Admission | AuthError]:
    """Return for each token its user and their memberships, or why it is refused, checked fresh."""
    users = identify(credentials)
    keys = {user.key for user in users if isinstance(user, Identity)}
    memberships = memberships_of(keys) if keys else {}
    return [Admission(user, memberships.get(user.key, [])) if isinstance(user, Identity) else user for user in users]


def identify(credentials: Sequence[Credentials]) -> list[Identity | AuthError]:
    """Return for each token its user, or why it is refused."""
    keys = {each.user_id: user_key(each.user_id) for each in credentials}
    users = _users([key for key in keys.values() if key is not None])
    revoked = _revoked_jtis(credentials)
    cutoffs = dict(TokenCutoff.objects.filter(user__in=users).values_list("user_id", "revoked_before"))
    return [_identify(each, users.get(keys[each.user_id]), revoked, cutoffs) for each in credentials]


def _users(keys: Collection[UserKey]) -> dict[UserKey, AbstractBaseUser]:
    found = get_user_model()._default_manager.filter(pk__in=keys)  # noqa: SLF001 — Django's public name for it
    return {user.pk: user for user in found}


def _revoked_jtis(credentials: Sequence[Credentials]) -> set[str]:
    jtis = {jti for each in credentials for jti in (each.jti, each.session_jti) if jti}
    return set(BlacklistedToken.objects.filter(token__jti__in=jtis).values_list("token__jti", flat=True))


def _identify(
    credentials: Credentials,
    user: AbstractBaseUser | None,
    revoked: set[str],
    cutoffs: dict[UserKey, dt.datetime],
) -> Identity | AuthError:
    if {credentials.jti, credentials.session_jti} & revoked:
        return TokenRevoked()
    if user is None:
        return UserNotFound()
    if not user.is_active:
        return UserInactive()
    cutoff = cutoffs.get(user.pk)
    if cutoff is not None and (credentials.issued_at is None or credentials.issued_at <= cutoff.timestamp()):
        return TokenRevoked()
    profile = profile_of(user)
    remember(user.pk, profile)
    return Identity(user.pk, profile)
