"""Who asks, on which connection, and what the reply has to repeat."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import UNSET, UnsetType

from messaging.delivery.hub import Session
from messaging.delivery.profiles import NOBODY as NO_PROFILE, UserKey
from messaging.schemas.wire import Profile


@dataclass(frozen=True, slots=True)
class Identity:
    """The user of an authenticated connection."""

    key: UserKey  # the user's primary key
    profile: Profile

    @property
    def user_id(self) -> str:
        """The user's id as it stands on the wire."""
        return self.profile.user_id or ""


NOBODY = Identity(None, NO_PROFILE)  # before `connect`, for the few requests that are served then


@dataclass(frozen=True, slots=True)
class Caller:
    """One request's caller."""

    user: Identity
    connection: Session
    request_id: str | UnsetType = UNSET
    ignored: list[str] | UnsetType = UNSET  # fields of the request that are unknown here
