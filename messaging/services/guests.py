"""What messaging shows of the groups app, which it does not know: the app registers it when it is ready."""

from __future__ import annotations

from collections.abc import Callable, Collection
from uuid import UUID

import msgspec

from messaging.delivery.profiles import UserKey

# Returns what a member sees of some groups, by conversation, in a fixed number of queries.
GroupViews = Callable[[UserKey, Collection[UUID]], dict[UUID, msgspec.Struct]]


class _Registered:
    group_views: GroupViews | None = None  # until the groups app is ready, or where it is not installed


def register_group_views(source: GroupViews) -> None:
    """Have groups in lists described by this function."""
    _Registered.group_views = source


def group_views(caller: UserKey, conversation_ids: Collection[UUID]) -> dict[UUID, msgspec.Struct]:
    """Return what a member sees of some groups by their conversations."""
    if not conversation_ids or _Registered.group_views is None:
        return {}
    return _Registered.group_views(caller, conversation_ids)
