"""What messaging does, in plain synchronous Django: one module for each noun."""

from messaging.services.conversations import get_messages, start_conversation
from messaging.services.messages import edit_message
from messaging.services.people import block_user, blocked_users, follow_user, unblock_user, unfollow_user

__all__ = [
    "block_user",
    "blocked_users",
    "edit_message",
    "follow_user",
    "get_messages",
    "start_conversation",
    "unblock_user",
    "unfollow_user",
]
