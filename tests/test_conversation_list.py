"""The list of conversations: what is in it, how it is counted, how it pages, and what it costs."""

import base64
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from messaging.delivery import profiles
from messaging.models import Conversation, Interval, Participant
from messaging.schemas.conversations import GetConversations
from messaging.services import get_conversations, listing
from tests.cast import Cast, Person, new_person
from tests.client import ChatClient, Frame
from tests.database import in_database
from tests.server import LiveServer


async def send(client: ChatClient, to: str, content: str = "Hello", **fields: Any) -> Frame:
    """Send a message that has to be accepted."""
    reply = await client.ask("send_message", recipientId=to, content=content, **fields)
    assert reply["type"] == "message_sent", reply
    return reply


async def listed(client: ChatClient, **fields: Any) -> list[Frame]:
    """Return a page of the list."""
    reply = await client.ask("get_conversations", **fields)
    assert reply["type"] == "conversations", reply
    conversations: list[Frame] = reply["conversations"]
    return conversations


async def test_a_conversation_shows_where_both_stand(server: LiveServer, cast: Cast) -> None:
    """Each side sees the other, the newest message, and its own counts."""
    async with ChatClient(server.url, cast.ann.token) as ann, ChatClient(server.url, cast.bob.token) as bob:
        await ann.connect()
        await bob.connect()
        await ann.ask("start_conversation", recipientId=cast.bob.id)
        assert await listed(ann) == []
        first = await send(ann, cast.bob.id, f"Hello @{cast.bob.name}")
        last = await send(ann, cast.bob.id, "You there?", replyToMessageId=first["messageId"])
        await bob.ask("mark_read", messageId=first["messageId"])
        (mine,) = await listed(ann)
        assert mine["kind"] == "direct"
        assert mine["conversationId"] == first["conversationId"]
        assert mine["peer"]["userId"] == cast.bob.id
        assert mine["lastMessage"] == last["message"]
        assert (mine["lastSeq"], mine["readSeq"], mine["unreadCount"], mine["peerReadSeq"]) == (2, 0, 0, 1)
        (theirs,) = await listed(bob)
        assert (theirs["readSeq"], theirs["unreadCount"], theirs["mentionCount"]) == (1, 1, 0)
        await bob.ask("block_user", userId=cast.ann.id)
        (mine,) = await listed(ann)
        assert (mine["peerReadSeq"], mine["peerDeliveredSeq"]) == (None, None)
        assert mine["updatedAt"] == last["message"]["createdAt"]


async def test_what_counts_as_unread(server: LiveServer, cast: Cast) -> None:
    """Not what is deleted for all or for oneself, not one's own; mentions count until they are edited away."""
    async with ChatClient(server.url, cast.ann.token) as ann, ChatClient(server.url, cast.bob.token) as bob:
        await ann.connect()
        await bob.connect()
        sent = [await send(ann, cast.bob.id, f"{n} @{cast.bob.name}") for n in range(4)]
        await send(bob, cast.ann.id)

        async def counts() -> tuple[int, int]:
            (conversation,) = await listed(bob)
            return conversation["unreadCount"], conversation["mentionCount"]

        assert await counts() == (4, 4)
        await ann.ask("delete_message", messageId=sent[0]["messageId"], forEveryone=True)
        assert await counts() == (3, 3)
        await bob.ask("delete_message", messageId=sent[1]["messageId"])
        assert await counts() == (2, 2)
        await ann.ask("update_message", messageId=sent[2]["messageId"], content="Nobody")
        assert await counts() == (2, 1)
        await bob.ask("mark_read", messageId=sent[3]["messageId"])
        assert await counts() == (0, 0)


async def test_counting_looks_at_the_newest_messages(
    server: LiveServer, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much is unread, only so many messages and mentions of a conversation are looked at, from its end."""
    monkeypatch.setattr(listing, "COUNT_MAX", 3)
    async with ChatClient(server.url, cast.ann.token) as ann, ChatClient(server.url, cast.bob.token) as bob:
        await ann.connect()
        await bob.connect()
        sent = [await send(ann, cast.bob.id, f"{n} @{cast.bob.name}") for n in range(5)]

        def counts() -> tuple[int, int]:
            (view,) = get_conversations(cast.bob.user.pk, GetConversations()).conversations
            return view.unread_count, view.mention_count

        assert await in_database(counts) == (3, 3)
        await send(bob, cast.ann.id)
        assert await in_database(counts) == (2, 3)
        for message in sent:
            await bob.ask("delete_message", messageId=message["messageId"])
        assert await in_database(counts) == (0, 0)


async def test_a_deleted_conversation_is_not_listed(server: LiveServer, cast: Cast) -> None:
    """It comes back with the next message, for the other person it never went; strangers see nothing of it."""
    async with ChatClient(server.url, cast.ann.token) as ann, ChatClient(server.url, cast.mallory.token) as mallory:
        await ann.connect()
        await mallory.connect()
        sent = await send(ann, cast.bob.id)
        await ann.ask("delete_conversation", conversationId=sent["conversationId"])
        assert await listed(ann) == []
        assert await listed(mallory) == []
        async with ChatClient(server.url, cast.bob.token) as bob:
            await bob.connect()
            assert len(await listed(bob)) == 1
            reply = await send(bob, cast.ann.id, "Back", replyToMessageId=sent["messageId"])
        (back,) = await listed(ann)
        assert (back["lastMessage"]["messageId"], back["unreadCount"]) == (reply["messageId"], 1)
        assert "excerpt" not in back["lastMessage"]["replyTo"]


async def test_groups_are_listed_from_their_beginning(server: LiveServer, cast: Cast) -> None:
    """A group is listed while it is empty, and until it is deleted for everyone."""
    group_id = await in_database(lambda: new_group(cast.ann, cast.bob))
    async with ChatClient(server.url, cast.ann.token) as ann, ChatClient(server.url, cast.bob.token) as bob:
        await ann.connect()
        await bob.connect()
        (group,) = await listed(ann)
        assert (group["kind"], group["groupId"], group["lastMessage"]) == ("group", group_id, None)
        assert "peer" not in group
        await bob.ask("send_message", conversationId=group_id, content="Hello @everyone")
        (group,) = await listed(ann)
        assert (group["unreadCount"], group["mentionCount"], group["peerReadSeq"]) == (1, 1, None)
        await in_database(lambda: Conversation.objects.filter(pk=group_id).update(state="deleted"))
        assert await listed(ann) == []


async def test_pages_follow_each_other(server: LiveServer, cast: Cast) -> None:
    """The newest conversation comes first, and pages do not overlap when something moves meanwhile."""
    others = await in_database(lambda: [new_person("other") for _ in range(5)])
    async with ChatClient(server.url, cast.ann.token) as ann:
        await ann.connect()
        for other in others:
            await send(ann, other.id)
        first = await ann.ask("get_conversations", limit=2)
        await send(ann, others[4].id)
        second = await ann.ask("get_conversations", limit=2, before=first["nextCursor"])
        last = await ann.ask("get_conversations", limit=2, before=second["nextCursor"])
        pages = [[each["peer"]["userId"] for each in page["conversations"]] for page in (first, second, last)]
        assert pages == [[others[n].id for n in page] for page in ([4, 3], [2, 1], [0])]
        assert [page["hasMore"] for page in (first, second, last)] == [True, True, False]
        assert last["nextCursor"] is None


@pytest.mark.parametrize("cursor", ["x", "!!", "bnVsbA==", base64.b64encode(b'["2026", 5]').decode(), "ä"])
async def test_a_foreign_cursor_is_refused(server: LiveServer, cast: Cast, cursor: str) -> None:
    """What is no cursor of this list is a validation error."""
    async with ChatClient(server.url, cast.ann.token) as ann:
        await ann.connect()
        refused = await ann.ask("get_conversations", before=cursor)
        assert (refused["code"], refused["field"]) == ("VALIDATION_ERROR", "before")


async def test_a_page_costs_the_same_whatever_is_on_it(server: LiveServer, cast: Cast) -> None:
    """Ten conversations take no more queries than one."""

    def queries() -> int:
        profiles._remembered.clear()
        with CaptureQueriesContext(connection) as captured:
            get_conversations(cast.ann.user.pk, GetConversations())
        return len(captured)

    others = await in_database(lambda: [new_person("other") for _ in range(10)])
    async with ChatClient(server.url, cast.ann.token) as ann:
        await ann.connect()
        await send(ann, others[0].id, f"@{others[0].name}")
        one = await in_database(queries)
        for other in others[1:]:
            await send(ann, other.id, f"@{other.name}")
        assert await in_database(queries) == one
        assert len(await listed(ann)) == 10


def new_group(*members: Person) -> str:
    """Make a group in which the last one is admin."""
    group = Conversation.objects.create(kind=Conversation.Kind.GROUP)
    for person in members:
        place = Participant.objects.create(conversation=group, user=person.user, is_admin=person is members[-1])
        Interval.objects.create(participant=place, from_seq=1)
    return str(group.pk)
