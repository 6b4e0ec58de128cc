"""What presence does, in plain synchronous Django: counting connections, ending what has lapsed, saying who is online.

Everything is done for many users at once. A user's row in `Presence` is touched before their connections, so that
coming back and the end of the grace period wait for each other.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models import Q
from django.db.models.functions import Now

from messaging.delivery import log
from messaging.delivery.memberships import user_key
from messaging.delivery.news import ToUsers
from messaging.delivery.profiles import UserKey, profiles_of
from messaging.protocol.envelope import encode
from messaging.schemas.wire import Profile, wire_time
from messaging.services.contacts import contacts_of, not_blocked_with, viewers_of
from presence.models import Connection, Presence, Worker
from presence.schemas import GetPresence, OnlineUser, OnlineUsers, PresenceOf, PresenceReply, UserOffline, UserOnline

LEASE = dt.timedelta(seconds=30)
ONLINE_USERS_MAX = 1_000
OVERLAP = dt.timedelta(seconds=60)  # a transaction's rows carry the time of its start and appear at its end


class Arrival(NamedTuple):
    """An authenticated connection that has opened."""

    client_id: str
    user: UserKey
    address: str


class Change(NamedTuple):
    """Whether a user is online now, and since when."""

    user: UserKey
    is_online: bool
    last_seen: dt.datetime


def renew_lease(worker_id: str) -> bool:
    """Let a worker's connections count for another while; return False if they have lapsed and must be told again."""
    lease_until = log.now() + LEASE
    if Worker.objects.filter(pk=worker_id).update(lease_until=lease_until):
        return True
    Worker.objects.create(pk=worker_id, lease_until=lease_until)
    return False


def count_connections(worker_id: str, arrivals: Sequence[Arrival], departures: Collection[str]) -> None:
    """Write down which connections of a worker have opened and closed; nine statements, however many they are.

    Must be called inside a transaction.
    """
    users = {each.user for each in arrivals}
    users = set(get_user_model()._default_manager.filter(pk__in=users).values_list("pk", flat=True))  # noqa: SLF001
    leaving = set(Connection.objects.filter(pk__in=departures).values_list("user_id", flat=True))
    _lock(users | leaving)
    Connection.objects.bulk_create(
        (
            Connection(client_id=each.client_id, user_id=each.user, worker_id=worker_id, address=each.address)
            for each in arrivals
            if each.user in users
        ),
        ignore_conflicts=True,  # told again after the lease had lapsed
    )
    Connection.objects.filter(pk__in=departures).delete()
    _let_go(leaving)
    _welcome(users - leaving | set(_connected(users & leaving)))


def end_worker(worker_id: str) -> None:
    """Let go of a worker and everybody it held. Must be called inside a transaction."""
    _end_workers([UUID(worker_id)])


def sweep() -> None:
    """End what has lapsed: workers that no longer say that they live, and grace periods.

    Any worker may do it, and several at once: what one has ended the others do not find. Must be called inside a
    transaction.
    """
    lapsed = Worker.objects.select_for_update(skip_locked=True).filter(lease_until__lt=Now()).order_by("pk")
    if keys := list(lapsed.values_list("pk", flat=True)):
        _end_workers(keys)
    ended = Presence.objects.filter(is_online=True, grace_until__lte=Now())
    ended.update(is_online=False, grace_until=None, changed_at=Now())


def _end_workers(keys: Collection[UUID]) -> None:
    users = set(Connection.objects.filter(worker_id__in=keys).values_list("user_id", flat=True))
    _lock(users)
    Worker.objects.filter(pk__in=keys).delete()
    _let_go(users)


def _lock(users: Iterable[UserKey]) -> None:
    """Make sure that users have a row, and lock them in one order, lest two workers deadlock."""
    ordered = sorted(users, key=str)
    now = log.now()
    Presence.objects.bulk_create(
        (Presence(user_id=user, last_seen=now, changed_at=now) for user in ordered), ignore_conflicts=True
    )
    list(Presence.objects.select_for_update().filter(user_id__in=ordered).order_by("user_id").values_list("user_id"))


def _welcome(users: Collection[UserKey]) -> None:
    """Count some users as online; who comes back within the grace period has never been away."""
    coming = Presence.objects.filter(user_id__in=users)
    coming.filter(is_online=True, grace_until__isnull=False).update(grace_until=None, last_seen=Now())
    coming.filter(is_online=False).update(is_online=True, last_seen=Now(), changed_at=Now())


def _let_go(users: Collection[UserKey]) -> None:
    """Begin the grace period of those of some users who have no connection left."""
    left = set(users) - set(_connected(users))
    grace_until = log.now() + dt.timedelta(seconds=settings.OFFLINE_GRACE_PERIOD)
    Presence.objects.filter(user_id__in=left, is_online=True).update(last_seen=Now(), grace_until=grace_until)


def _connected(users: Collection[UserKey]) -> Iterable[UserKey]:
    return Connection.objects.filter(user_id__in=users).values_list("user_id", flat=True)


def changes_since(moment: dt.datetime | None) -> tuple[dt.datetime, list[Change]]:
    """Return the present time, and whose presence has changed since a moment; everybody online without one."""
    now = log.now()
    found = Presence.objects.filter(Q(is_online=True) if moment is None else Q(changed_at__gt=moment - OVERLAP))
    return now, [Change._make(row) for row in found.values_list("user_id", "is_online", "last_seen")]


def news_of(changes: Sequence[Change], viewers: Collection[UserKey]) -> list[ToUsers]:
    """Return what some people are told of changes that concern them; four queries, however many there are."""
    keys = [change.user for change in changes]
    told = viewers_of(keys, viewers, everyone=settings.PRESENCE_SCOPE == "everyone")
    profiles = profiles_of(told)
    return [
        ToUsers([str(viewer) for viewer in told[change.user]], encode(_event(change, profiles[change.user])))
        for change in changes
        if change.user in told
    ]


def _event(change: Change, user: Profile) -> UserOnline | UserOffline:
    event = UserOnline if change.is_online else UserOffline
    return event(user=user, last_seen=wire_time(change.last_seen))


def online_among(users: Collection[UserKey]) -> set[UserKey]:
    """Return those of some users who are online; one query."""
    return set(Presence.objects.filter(user_id__in=users, is_online=True).values_list("user_id", flat=True))


def online_users(caller: UserKey) -> OnlineUsers:
    """Return who is online of those whose presence the caller is told, at most a thousand; two queries."""
    found = Presence.objects.filter(_is_told_of(caller), is_online=True).order_by("user_id")
    rows = list(found.values_list("user_id", "last_seen")[: ONLINE_USERS_MAX + 1])
    page = rows[:ONLINE_USERS_MAX]
    profiles = profiles_of(user for user, _ in page)
    return OnlineUsers(
        users=[
            OnlineUser(
                user_id=profiles[user].user_id,
                username=profiles[user].username,
                display_name=profiles[user].display_name,
                profile_image=profiles[user].profile_image,
                last_seen=wire_time(last_seen),
            )
            for user, last_seen in page
        ],
        has_more=len(rows) > len(page),
    )


def presence_of(caller: UserKey, request: GetPresence) -> PresenceReply:
    """Return whether some users are online, in the order asked for; one query.

    Strangers, people with a block and ids of nobody all read as offline and never seen.
    """
    keys = [key for key in map(user_key, request.user_ids) if key is not None]
    seen = Presence.objects.filter(_is_told_of(caller) | Q(user_id=caller), user_id__in=keys)
    rows = {
        str(user): (is_online, last) for user, is_online, last in seen.values_list("user_id", "is_online", "last_seen")
    }
    return PresenceReply(users=[_presence(user_id, *rows.get(user_id, (False, None))) for user_id in request.user_ids])


def _presence(user_id: str, is_online: bool, last_seen: dt.datetime | None) -> PresenceOf:  # noqa: FBT001 — a row
    return PresenceOf(
        user_id=user_id,
        status="online" if is_online else "offline",
        last_seen=None if last_seen is None else wire_time(last_seen),
    )


def _is_told_of(caller: UserKey) -> Q:
    """Return the condition that the caller is told of somebody's presence."""
    everyone = settings.PRESENCE_SCOPE == "everyone"
    return not_blocked_with(caller) if everyone else not_blocked_with(caller) & contacts_of(caller)
