"""The tables of the groups app: what a group is called and who has which role in it.

Its messages, events and the stretches of its log that members see are messaging's; both are changed together, under
the lock of the conversation.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now


class Group(models.Model):
    """A group or a community: its conversation's name, size and end."""

    conversation = models.OneToOneField(
        "messaging.Conversation", models.CASCADE, primary_key=True, related_name="+", editable=False
    )
    name = models.CharField(max_length=100)
    description = models.CharField(max_length=500, blank=True)
    member_count = models.PositiveIntegerField(default=0, editable=False)  # the number of its memberships
    max_members = models.PositiveIntegerField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    deleted_at = models.DateTimeField(null=True, editable=False)  # since when it may only be restored
    was_frozen = models.BooleanField(default=False, editable=False)  # when it was deleted, and will be if restored

    class Meta:
        """Found by size in the list of communities; never over its capacity, whoever joins at the same time."""

        verbose_name_plural = "groups and communities"
        constraints = (
            models.CheckConstraint(condition=Q(member_count__lte=F("max_members")), name="group_within_capacity"),
        )
        indexes = (
            models.Index(fields=("-member_count", "conversation"), name="group_by_size"),
            models.Index(fields=("deleted_at",), condition=Q(deleted_at__isnull=False), name="group_deleted"),
        )

    def __str__(self) -> str:
        """Return its name."""
        return self.name


class Membership(models.Model):
    """One user's role in one group."""

    class Role(models.TextChoices):
        """What a member may do; see the table of the protocol."""

        OWNER = "owner"
        ADMIN = "admin"
        MEMBER = "member"

    group = models.ForeignKey(Group, models.CASCADE, related_name="memberships", db_index=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    role = models.CharField(max_length=6, choices=Role, default=Role.MEMBER)
    joined_at = models.DateTimeField(db_default=Now())

    class Meta:
        """One role for each member, and one owner."""

        constraints = (
            models.UniqueConstraint(fields=("group", "user"), name="member_once_per_group"),
            models.UniqueConstraint(fields=("group",), condition=Q(role="owner"), name="owner_once_per_group"),
        )
        indexes = (models.Index(fields=("group", "id"), name="member_in_order_of_joining"),)

    def __str__(self) -> str:
        """Return who is what where."""
        return f"{self.user_id}, {self.role} of {self.group_id}"
