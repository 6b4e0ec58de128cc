"""The tables of presence: which worker holds which connection, and who counts as online.

A connection counts while its worker's lease lasts, by the database's clock; so what a killed worker held lapses by
itself.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Worker(models.Model):
    """A server process that says every few seconds that it lives."""

    id = models.UUIDField(primary_key=True, editable=False)
    lease_until = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        """Return its id."""
        return str(self.pk)


class Connection(models.Model):
    """An authenticated connection of a user."""

    client_id = models.UUIDField(primary_key=True, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    worker = models.ForeignKey(Worker, models.CASCADE, related_name="connections")
    address = models.CharField(max_length=255)  # of the client, behind the trusted proxies
    connected_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        """Return whose it is."""
        return f"{self.user_id} from {self.address}"


class Presence(models.Model):
    """Whether a user counts as online: connected, or gone for less than the grace period."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="+")
    is_online = models.BooleanField(default=False)
    last_seen = models.DateTimeField()  # when they last came or went
    grace_until = models.DateTimeField(null=True)  # without a connection: until when they count as online
    changed_at = models.DateTimeField(db_index=True)  # when `is_online` changed

    class Meta:
        """Found by who is online, and by whose grace ends."""

        indexes = (
            models.Index(fields=("user",), condition=Q(is_online=True), name="presence_online"),
            models.Index(fields=("grace_until",), condition=Q(grace_until__isnull=False), name="presence_in_grace"),
        )

    def __str__(self) -> str:
        """Return who is what."""
        return f"{self.user_id} {'online' if self.is_online else 'offline'}"
