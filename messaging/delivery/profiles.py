"""What others see of a user, read in bulk and remembered for five minutes."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from cachetools import TTLCache
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser

from messaging.schemas.wire import Profile

UserKey = Any  # a primary key of settings.AUTH_USER_MODEL, of whatever type it is there
PROFILE_SECONDS = 300
PROFILES_MAX = 20_000
CHANGING_SECONDS = 15  # longer than the transaction of any request, which may still see the old row

NOBODY = Profile(user_id=None, username=None, display_name=None, profile_image=None)  # whose account is gone

_remembered: TTLCache[UserKey, Profile] = TTLCache(PROFILES_MAX, PROFILE_SECONDS)
_changing: TTLCache[UserKey, None] = TTLCache(PROFILES_MAX, CHANGING_SECONDS)
_lock = threading.Lock()  # the database's threads share the memory


def profile_of(user: AbstractBaseUser) -> Profile:
    """Return what others see of a user; a custom model may offer `profile_image` and `get_full_name`."""
    username = user.get_username()
    full_name = getattr(user, "get_full_name", str)()
    image = getattr(user, "profile_image", None)
    return Profile(
        user_id=str(user.pk),
        username=username,
        display_name=full_name or username,
        profile_image=str(image) if image else None,
    )


def remember(key: UserKey, profile: Profile) -> None:
    """Keep a profile that has just been read, unless it has changed so lately that the old one may have been read."""
    with _lock:
        if key not in _changing:
            _remembered[key] = profile


def forget(key: UserKey) -> None:
    """Drop a profile that changes, and keep none of that user for a while."""
    with _lock:
        _changing[key] = None
        _remembered.pop(key, None)


def forget_named(user_id: str) -> None:
    """Drop the profile of a user named as on the wire."""
    forget(get_user_model()._meta.pk.to_python(user_id))  # noqa: SLF001 — Django's public API for models' metadata


def profiles_of(keys: Iterable[UserKey]) -> dict[UserKey, Profile]:
    """Return the profile of each key, `NOBODY` for None and users that are gone; one query for all not remembered."""
    wanted = set(keys)
    with _lock:
        found: dict[UserKey, Profile] = {key: _remembered[key] for key in wanted if key in _remembered}
    missing = wanted - found.keys() - {None}
    if missing:
        for user in get_user_model()._default_manager.filter(pk__in=missing):  # noqa: SLF001 — Django's public name for it
            found[user.pk] = profile_of(user)
            remember(user.pk, found[user.pk])
    return {key: found.get(key, NOBODY) for key in wanted}
