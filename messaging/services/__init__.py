"""What messaging does, in plain synchronous Django: one module for each noun."""

from messaging.services.conversations import get_messages, start_conversation
from messaging.services.listing import get_conversations
from messaging.services.messages import delete_for_everyone, delete_for_self, edit_message
from messaging.services.people import block_user, blocked_users, follow_user, unblock_user, unfollow_user
from messaging.services.reactions import add_reaction, remove_reaction
from messaging.services.reads import delete_conversation, mark_read
from messaging.services.search import search_messages

__all__ = [
    "add_reaction",
    "block_user",
    "blocked_users",
    "delete_conversation",
    "delete_for_everyone",
    "delete_for_self",
    "edit_message",
    "follow_user",
    "get_conversations",
    "get_messages",
    "mark_read",
    "remove_reaction",
    "search_messages",
    "start_conversation",
    "unblock_user",
    "unfollow_user",
]
