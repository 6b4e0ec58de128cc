"""Who is online: known to whoever keeps presence, who registers here when ready; messaging does not know them."""

from __future__ import annotations

from collections.abc import Callable, Collection

from messaging.delivery.profiles import UserKey

Source = Callable[[Collection[UserKey]], set[UserKey]]  # those of some users who are online; one query


class _Registered:
    source: Source | None = None  # until the presence app is ready, or where it is not installed


def register_online(source: Source) -> None:
    """Have this function say who is online."""
    _Registered.source = source


def online_among(users: Collection[UserKey]) -> set[UserKey]:
    """Return those of some users who are online; on a database thread, one query."""
    return set() if _Registered.source is None or not users else _Registered.source(users)
