"""What becomes of somebody's groups when their account is deleted, whoever deletes it."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.db.models.signals import pre_delete

from groups.models import Group, Membership
from groups.schemas.members import MemberLeft
from groups.services.access import Access, Role, lock_group
from groups.services.ending import soft_delete
from groups.services.members import depart
from groups.services.roles import hand_over


def connect() -> None:
    """Listen to the deletion of users; call it once, when all apps are loaded."""
    pre_delete.connect(_leave_all, sender=get_user_model(), dispatch_uid="groups.user_deleted")


def _leave_all(instance: AbstractBaseUser, **_: Any) -> None:
    """Take a user out of their groups, which pass to the oldest admin or member; who is alone takes the group along."""
    with transaction.atomic():
        places = Membership.objects.filter(user_id=instance.pk).order_by("group_id")
        for group_id in list(places.values_list("group_id", flat=True)):
            _leave(Access(lock_group(str(group_id)), None, None), instance)


def _leave(access: Access, user: AbstractBaseUser) -> None:
    place = Membership.objects.filter(group=access.group, user_id=user.pk).first()
    if place is None:
        return  # removed by somebody while this waited for the lock
    if place.role == Role.OWNER:
        heir = _heir(access.group, user)
        if heir is None:
            soft_delete(access)
            return
        hand_over(access, heir)
    depart(access, MemberLeft(conversation_id=access.group_id, group_id=access.group_id, user_id=str(user.pk)), user.pk)


def _heir(group: Group, user: AbstractBaseUser) -> Membership | None:
    """Return the oldest admin, else the oldest member, of those whose accounts are active."""
    others = Membership.objects.filter(group=group).exclude(user_id=user.pk).select_related("user").order_by("id")
    for role in (Role.ADMIN, Role.MEMBER):
        for member in others.filter(role=role, user__is_active=True)[:1]:
            return member
    return others.first()
