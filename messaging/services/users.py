"""What messaging does when a user's row changes, whoever changes it: Django admin, a command, an embedding project."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.db.models.functions import Now
from django.db.models.signals import post_delete, post_save, pre_delete

from messaging.delivery import log, profiles
from messaging.delivery.news import ProfileChanged, Revoked
from messaging.delivery.revocations import DEACTIVATED, GONE
from messaging.models import Conversation, Participant


def connect() -> None:
    """Listen to the changes of users; call it once, when all apps are loaded."""
    post_save.connect(_saved, sender=get_user_model(), dispatch_uid="messaging.user_saved")
    pre_delete.connect(_deleting, sender=get_user_model(), dispatch_uid="messaging.user_deleting")
    post_delete.connect(_deleted, sender=get_user_model(), dispatch_uid="messaging.user_deleted")


def _saved(instance: AbstractBaseUser, *, created: bool, update_fields: frozenset[str] | None, **_: Any) -> None:
    """End the sessions of a user who is saved as inactive, and forget how they looked."""
    if not created and update_fields != frozenset({"last_login"}):
        _forget(instance.pk)
    may_be_news = not created and (update_fields is None or "is_active" in update_fields)
    if may_be_news and not instance.is_active:
        log.announce(Revoked(user_id=str(instance.pk), reason=DEACTIVATED))


def _deleting(instance: AbstractBaseUser, **_: Any) -> None:
    """Make new versions of a user's conversations: name, reactions and mentions go out of them without an event."""
    with transaction.atomic():
        theirs = Participant.objects.filter(user_id=instance.pk).values("conversation_id")
        conversations = Conversation.objects.filter(pk__in=theirs)
        list(conversations.select_for_update(no_key=True).order_by("pk").values_list("pk"))  # in everybody's order
        conversations.update(changed_at=Now())


def _deleted(instance: AbstractBaseUser, **_: Any) -> None:
    """End the sessions of a user who is deleted."""
    _forget(instance.pk)
    log.announce(Revoked(user_id=str(instance.pk), reason=GONE))


def _forget(key: profiles.UserKey) -> None:
    # Now for this transaction, and after it for what others have read meanwhile.
    profiles.forget(key)
    transaction.on_commit(lambda: profiles.forget(key))
    log.announce(ProfileChanged(str(key)))
