"""What ends sessions, read in one go for all of a worker: revoked tokens, cutoffs, and users gone or inactive."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection

from django.contrib.auth import get_user_model
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken

from messaging.delivery.news import Revoked
from messaging.delivery.profiles import UserKey
from messaging.models import TokenCutoff

DEACTIVATED = "the user was deactivated"
GONE = "the user was deleted"


def revoked_since(moment: dt.datetime, online: Collection[UserKey]) -> list[Revoked]:
    """Return what has been revoked since a moment, and which of the users who are online may be so no more."""
    tokens = BlacklistedToken.objects.filter(blacklisted_at__gt=moment).values_list("token__jti", flat=True)
    cutoffs = TokenCutoff.objects.filter(changed_at__gt=moment, user__in=online)
    ended = [Revoked(jti=jti) for jti in tokens]
    ended += [
        Revoked(user_id=str(user), issued_until=until.timestamp())
        for user, until in cutoffs.values_list("user_id", "revoked_before")
    ]
    return ended + _no_longer_welcome(online)


def _no_longer_welcome(online: Collection[UserKey]) -> list[Revoked]:
    if not online:
        return []
    users = get_user_model()._default_manager.filter(pk__in=online)  # noqa: SLF001 — Django's public name for it
    active = {user.pk: user.is_active for user in users.only(*_fields())}
    return [
        Revoked(user_id=str(key), reason=DEACTIVATED if key in active else GONE)
        for key in online
        if not active.get(key)
    ]


def _fields() -> list[str]:
    names = {field.name for field in get_user_model()._meta.get_fields()}  # noqa: SLF001
    return ["pk", *({"is_active"} & names)]
