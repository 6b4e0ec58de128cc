"""The tables of messaging: conversations, their event log, and what people did to each other's messages.

Constraints are named as the facts they keep. All times are the database's transaction time (`Now()`).
"""

from __future__ import annotations

import uuid

import uuid_utils.compat
from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now


def new_id() -> uuid.UUID:
    """Return a fresh UUIDv7: rows made together lie together in the index (RFC 9562 section 5.7)."""
    return uuid_utils.compat.uuid7()


class Conversation(models.Model):
    """A log of events with gapless seqs, shared by its participants."""

    class Kind(models.TextChoices):
        """Who can be in it."""

        DIRECT = "direct"
        GROUP = "group"
        COMMUNITY = "community"

    class Posting(models.TextChoices):
        """Who may write."""

        EVERYONE = "everyone"
        ADMINS = "admins"

    class State(models.TextChoices):
        """Whether it takes anything new."""

        OPEN = "open"
        FROZEN = "frozen"  # by a moderator: nothing new until thawed
        DELETED = "deleted"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=9, choices=Kind)
    # The two user keys in order, so that two people have one conversation; null in groups.
    pair_key = models.CharField(max_length=511, null=True, editable=False)  # noqa: DJ001 — null is never ""
    last_seq = models.BigIntegerField(default=0)
    last_message_at = models.DateTimeField(null=True)
    changed_at = models.DateTimeField(db_default=Now(), db_index=True)
    created_at = models.DateTimeField(db_default=Now())
    posting = models.CharField(max_length=8, choices=Posting, default=Posting.EVERYONE)
    state = models.CharField(max_length=7, choices=State, default=State.OPEN)
    is_public = models.BooleanField(default=False)  # whether strangers may know that it exists

    class Meta:
        """Two people have one conversation."""

        # Not `unique` on the field: Django would add an index for LIKE, and each message pays for each index here.
        constraints = (models.UniqueConstraint(fields=("pair_key",), name="conversation_once_per_pair"),)

    def __str__(self) -> str:
        """Return kind and id."""
        return f"{self.kind} {self.pk}"


class Participant(models.Model):
    """Someone's place in a conversation: their cursors and what they may do there."""

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="participants", db_index=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    is_admin = models.BooleanField(default=False)  # owner or admin of a group
    muted_until = models.DateTimeField(null=True)
    delivered_seq = models.BigIntegerField(default=0)  # written to a socket of theirs, or acknowledged
    read_seq = models.BigIntegerField(default=0)
    cleared_seq = models.BigIntegerField(default=0)  # everything up to here is deleted for this user alone
    changed_at = models.DateTimeField(db_default=Now(), db_index=True)

    class Meta:
        """One row for each user and conversation, found from either side."""

        constraints = (
            models.UniqueConstraint(fields=("conversation", "user"), name="participant_once_per_conversation"),
        )

    def __str__(self) -> str:
        """Return who is where."""
        return f"{self.user_id} in {self.conversation_id}"


class Interval(models.Model):
    """A stretch of the log that a participant may see, both ends included; open while `to_seq` is null."""

    participant = models.ForeignKey(Participant, models.CASCADE, related_name="intervals")
    from_seq = models.BigIntegerField()
    to_seq = models.BigIntegerField(null=True)

    class Meta:
        """Nobody is in a conversation twice at once."""

        constraints = (
            models.UniqueConstraint(
                fields=("participant",),
                condition=Q(to_seq=None),
                name="interval_open_once_per_participant",
            ),
        )

    def __str__(self) -> str:
        """Return the ends."""
        return f"{self.from_seq} to {self.to_seq or 'now'}"


class Message(models.Model):
    """A message, sealed; a tombstone keeps its place and its fingerprint but no content."""

    class Kind(models.TextChoices):
        """What sort of message it is."""

        TEXT = "text"
        ANNOUNCEMENT = "announcement"
        SYSTEM = "system"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="+", db_index=False)
    seq = models.BigIntegerField()  # of the event that brought it
    sender = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", db_index=False)
    # The sender's key as sealed into the message's authentication: it outlives the account.
    sender_key = models.CharField(max_length=255, editable=False)
    kind = models.CharField(max_length=12, choices=Kind, default=Kind.TEXT)
    key_id = models.IntegerField(editable=False)  # of the encryption key that sealed content and fingerprint
    sealed_content = models.BinaryField(null=True)  # null on tombstones
    sealed_fingerprint = models.BinaryField(null=True)  # of what was first sent; null without client_message_id
    client_message_id = models.CharField(max_length=128, null=True, editable=False)  # noqa: DJ001 — null is "none"
    reply_to = models.ForeignKey("self", models.SET_NULL, null=True, related_name="+", db_index=False)
    pinned_at = models.DateTimeField(null=True)  # while it is pinned
    created_at = models.DateTimeField(db_default=Now())
    edited_at = models.DateTimeField(null=True)
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        """Pages run over (conversation, seq); unread counts over its countable part."""

        constraints = (
            models.UniqueConstraint(fields=("conversation", "seq"), name="message_once_per_seq"),
            models.UniqueConstraint(fields=("sender", "client_message_id"), name="message_once_per_client_id"),
        )
        indexes = (
            models.Index(
                fields=("conversation", "seq", "sender"),
                condition=Q(deleted_at=None, kind__in=("text", "announcement")),
                name="message_countable",
            ),
            models.Index(fields=("reply_to",), condition=Q(reply_to__isnull=False), name="message_replies"),
            models.Index(fields=("conversation",), condition=Q(pinned_at__isnull=False), name="message_pinned"),
        )

    def __str__(self) -> str:
        """Return where it stands; never what it says."""
        return f"{self.kind} {self.conversation_id}:{self.seq}"


class Mention(models.Model):
    """Someone, or everyone when `user` is null, mentioned in a message."""

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="+", db_index=False)
    seq = models.BigIntegerField()  # of the message
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="+", db_index=False)

    class Meta:
        """Found by message and, for counts, by who is mentioned where."""

        constraints = (
            models.UniqueConstraint(fields=("conversation", "seq", "user"), name="mention_once_per_user"),
            models.UniqueConstraint(
                fields=("conversation", "seq"), condition=Q(user=None), name="mention_of_everyone_once"
            ),
        )
        indexes = (models.Index(fields=("user", "conversation", "seq"), name="mention_of_somebody"),)

    def __str__(self) -> str:
        """Return who is mentioned where."""
        return f"{self.user_id or 'everyone'} in {self.conversation_id}:{self.seq}"


class Event(models.Model):
    """One durable event of a conversation's log: the truth that live delivery only carries news of."""

    pk = models.CompositePrimaryKey("conversation_id", "seq")  # gapless: assigned under the conversation's lock
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="+", db_index=False)
    seq = models.BigIntegerField()
    type = models.CharField(max_length=32)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", db_index=False)
    # No constraint in the database: message and event are written by one transaction, the check would be pure cost.
    message = models.ForeignKey(
        Message, models.DO_NOTHING, null=True, related_name="+", db_index=False, db_constraint=False
    )
    subject_seq = models.BigIntegerField(null=True)  # of the message it is about, for who may not see that one
    origin_id = models.UUIDField(null=True)  # of the command that made it, so that a retry finds it
    data = models.JSONField(null=True)  # the rest of the wire event; never any message text
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        """A command makes its event once, however often it is tried."""

        constraints = (
            models.UniqueConstraint(
                fields=("origin_id", "conversation"),  # in this order, since a retry knows the command alone
                condition=Q(origin_id__isnull=False),
                name="event_once_per_origin",
            ),
        )

    def __str__(self) -> str:
        """Return what happened where."""
        return f"{self.type} {self.conversation_id}:{self.seq}"


class Reaction(models.Model):
    """One emoji of one user under a message."""

    message = models.ForeignKey(Message, models.CASCADE, related_name="reactions", db_index=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    emoji = models.CharField(max_length=32)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        """Reacting twice the same way is reacting once."""

        constraints = (models.UniqueConstraint(fields=("message", "emoji", "user"), name="reaction_once_per_emoji"),)

    def __str__(self) -> str:
        """Return who chose what."""
        return f"{self.emoji} by {self.user_id}"


class MessageDeletion(models.Model):
    """A message deleted by one user for themselves."""

    message = models.ForeignKey(Message, models.CASCADE, related_name="+", db_index=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")

    class Meta:
        """Deleting twice is deleting once."""

        constraints = (models.UniqueConstraint(fields=("message", "user"), name="deletion_once_per_user"),)

    def __str__(self) -> str:
        """Return who hid what."""
        return f"{self.message_id} for {self.user_id}"


class Block(models.Model):
    """One user wants nothing from another; it works both ways."""

    blocker = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", db_index=False)
    blocked = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        """Blocking twice is blocking once, and nobody blocks themselves."""

        constraints = (
            models.UniqueConstraint(fields=("blocker", "blocked"), name="block_once_per_pair"),
            models.CheckConstraint(condition=~Q(blocker=F("blocked")), name="block_of_somebody_else"),
        )

    def __str__(self) -> str:
        """Return who blocks whom."""
        return f"{self.blocker_id} blocks {self.blocked_id}"


class Follow(models.Model):
    """One user follows another."""

    follower = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", db_index=False)
    followed = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        """Following twice is following once, and nobody follows themselves."""

        constraints = (
            models.UniqueConstraint(fields=("follower", "followed"), name="follow_once_per_pair"),
            models.CheckConstraint(condition=~Q(follower=F("followed")), name="follow_of_somebody_else"),
        )

    def __str__(self) -> str:
        """Return who follows whom."""
        return f"{self.follower_id} follows {self.followed_id}"


class TokenCutoff(models.Model):
    """Every token of a user issued until `revoked_before` is refused, whoever issued it."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="+")
    revoked_before = models.DateTimeField()
    changed_at = models.DateTimeField(db_default=Now(), db_index=True)

    def __str__(self) -> str:
        """Return whose tokens end when."""
        return f"{self.user_id} until {self.revoked_before}"
