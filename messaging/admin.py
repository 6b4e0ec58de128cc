"""Moderating messages in Django admin, by the services that requests use too, so that clients see the same events."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from messaging.delivery import rendering
from messaging.delivery.doors import write_lock
from messaging.models import Conversation, Message
from messaging.protocol.errors import ChatError
from messaging.services.messages import remove_message

if TYPE_CHECKING:
    MessageModelAdmin = admin.ModelAdmin[Message]
else:
    MessageModelAdmin = admin.ModelAdmin

logger = logging.getLogger(__name__)
HIDDEN = "not shown: ADMIN_READS does not allow it"

# What each value of ADMIN_READS lets admins read.
READABLE = {
    "none": frozenset(),
    "communities": frozenset({Conversation.Kind.COMMUNITY}),
    "groups": frozenset({Conversation.Kind.COMMUNITY, Conversation.Kind.GROUP}),
    "all": frozenset(Conversation.Kind),
}


def moderate(request: HttpRequest, of: str, service: Callable[..., object], *args: str) -> bool:
    """Do something as a moderator of the service, or say why it was refused; return whether it was done.

    Args:
        request: the admin's.
        of: what it is done to, for the message.
        service: what does it.
        args: what it is called with.

    """
    try:
        with write_lock(), transaction.atomic():
            service(*args)
    except ChatError as refusal:
        details = refusal.details if isinstance(refusal.details, str) else refusal.message
        messages.error(request, f"{of}: {details}")
        return False
    return True


class ReadOnly:
    """What is looked at in admin, and changed only by actions, which call services."""

    def has_moderate_permission(self, request: HttpRequest) -> bool:
        """Return whether an admin may act: who has Django's permission to change rows of this table."""
        return super().has_change_permission(request)  # type: ignore[misc,no-any-return]  # of ModelAdmin

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Nothing is edited past the services."""
        return False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 — Django's signature
        """Nothing is made here."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Nothing is deleted past the services."""
        return False


@admin.register(Message)
class MessageAdmin(ReadOnly, MessageModelAdmin):
    """Messages: who wrote when and where; what, only as far as ADMIN_READS allows, and each look is logged."""

    list_display = ("id", "kind", "place", "seq", "sender", "created_at", "edited_at", "deleted_at")
    list_select_related = ("conversation", "sender")
    list_per_page = 50
    show_full_result_count = False  # counting millions of rows for a line of text
    search_fields = ("=id", "=conversation__id", "=sender_key")
    search_help_text = "The whole id of a message, conversation or sender."
    fields = ("id", "kind", "conversation", "seq", "sender", "created_at", "edited_at", "deleted_at", "content")
    ordering = ("-id",)
    actions = ("delete_for_everyone",)

    @admin.display(description="conversation")
    def place(self, message: Message) -> str:
        """Return where it was written."""
        return str(message.conversation)

    @admin.display(description="content")
    def content(self, message: Message) -> str:
        """Return what it says, if that may be read here."""
        if message.deleted_at is not None:
            return "deleted"
        if not _may_read(message):
            return HIDDEN
        row = Message.objects.filter(pk=message.pk).values_list(*rendering.ROW_FIELDS)
        text = rendering.open_content(rendering.rows_of(row)[0])
        return "cannot be decrypted" if text is None else text

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show one message; a look at its content is logged."""
        message = self.get_object(request, object_id)
        if message is not None and self.has_view_permission(request, message) and _may_read(message):
            logger.warning("the admin %s looked at the content of message %s", request.user.pk, message.pk)
            self.log_change(request, message, "Looked at the content.")
        return super().change_view(request, object_id, form_url, extra_context)

    @admin.action(description="Delete for everyone", permissions=["moderate"])
    def delete_for_everyone(self, request: HttpRequest, queryset: QuerySet[Message]) -> None:
        """Leave tombstones of messages; the members see it at once."""
        done = [each for each in queryset if moderate(request, str(each), remove_message, str(each.pk))]
        log_done(self, request, done, "Deleted for everyone.")


def log_done(model_admin: Any, request: HttpRequest, done: list[Any], what: str) -> None:
    """Say in the log of admin, and to the admin, what was done to which rows."""
    for each in done:
        model_admin.log_change(request, each, what)
    if done:
        messages.success(request, f"{what} ({len(done)})")


def _may_read(message: Message) -> bool:
    return message.conversation.kind in READABLE[settings.ADMIN_READS]
