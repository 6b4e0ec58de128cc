"""What cannot be decrypted: reported for that one message and logged, while everything around it still loads."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest
from django.db import connection

from messaging.delivery.encryption import Key, Place, keyring
from messaging.models import Message
from tests.cast import Cast
from tests.client import ChatClient, Frame
from tests.database import in_database
from tests.server import LiveServer

TEXTS = ("find the first", "find the second", "find the third")


class Talk(NamedTuple):
    """Three messages of ann to bob, and one to carl."""

    conversation_id: str
    ids: list[str]
    elsewhere: Message  # the one to carl
    people: Cast

    @property
    def damaged(self) -> Message:
        """The second message, as it is stored now."""
        return Message.objects.get(pk=self.ids[1])

    def change(self, **columns: Any) -> None:
        """Write into columns of the second message."""
        Message.objects.filter(pk=self.ids[1]).update(**columns)


async def talk(ann: ChatClient, cast: Cast) -> Talk:
    """Have ann write four messages."""
    sent = [
        await ann.ask("send_message", recipientId=to.id, content=text, clientMessageId=text + to.name)
        for to, text in ((cast.carl, "elsewhere"), *((cast.bob, text) for text in TEXTS))
    ]
    elsewhere = await in_database(lambda: Message.objects.get(pk=sent[0]["messageId"]))
    return Talk(sent[1]["conversationId"], [each["messageId"] for each in sent[1:]], elsewhere, cast)


def with_byte_flipped(position: int) -> Callable[[Talk], None]:
    """Return what flips one bit of the stored content."""

    def damage(talk: Talk) -> None:
        sealed = bytearray(talk.damaged.sealed_content or b"")
        sealed[position] ^= 1
        talk.change(sealed_content=bytes(sealed))

    return damage


def with_length(length: int) -> Callable[[Talk], None]:
    """Return what cuts the stored content to a length; a negative one counts from its end."""
    return lambda talk: talk.change(sealed_content=bytes(talk.damaged.sealed_content or b"")[:length])


def seal_with_another_key(talk: Talk) -> None:
    """Seal the text in its very place, by a key that only claims to be ours."""
    message, stranger = talk.damaged, Key("a secret of somebody else, long enough")
    stranger.id = keyring().current.id
    place = Place(str(message.pk), str(message.conversation_id), message.sender_key)
    talk.change(sealed_content=stranger.seal(TEXTS[1].encode(), place))


def swap_with_the_third(talk: Talk) -> None:
    """Put the third message's content into the second's row, of the same conversation and sender."""
    talk.change(sealed_content=Message.objects.get(pk=talk.ids[2]).sealed_content)


def move_the_other_here(talk: Talk) -> None:
    """Put the row of another conversation into the place of the second message, under that one's id."""
    other = talk.elsewhere
    talk.change(sealed_content=other.sealed_content, sealed_fingerprint=other.sealed_fingerprint)


def give_to(column: str) -> Callable[[Talk], None]:
    """Return what makes bob the sender, in one column or in both."""
    columns = {"sender_id", "sender_key"} if column == "both" else {column}

    def damage(talk: Talk) -> None:
        bob = {"sender_id": talk.people.bob.user.pk, "sender_key": talk.people.bob.id}
        talk.change(**{name: value for name, value in bob.items() if name in columns})

    return damage


DAMAGES: dict[str, Callable[[Talk], None]] = {
    "an unknown key": lambda talk: talk.change(key_id=talk.damaged.key_id ^ 1),
    "another key": seal_with_another_key,
    "a flipped byte of the IV": with_byte_flipped(0),
    "a flipped byte of the text": with_byte_flipped(20),
    "a flipped byte of the MAC": with_byte_flipped(-1),
    "a byte less": with_length(-1),
    "a block less": with_length(-16),
    "next to nothing": with_length(40),
    "nothing": with_length(0),
    "no content": lambda talk: talk.change(sealed_content=None),
    "a byte more": lambda talk: talk.change(sealed_content=bytes(talk.damaged.sealed_content or b"") + b"\0"),
    "what was sealed for another purpose": lambda talk: talk.change(sealed_content=talk.damaged.sealed_fingerprint),
    "another message's content": swap_with_the_third,
    "another conversation's message": move_the_other_here,
    "shown as another sender's": give_to("sender_id"),
    "sealed as another sender's": give_to("sender_key"),
    "given to another sender": give_to("both"),
}


def lines_about(server: LiveServer, message_id: str) -> int:
    """Return how often the server's log says that a message cannot be decrypted, and that it says nothing of it."""
    assert not any(text in server.log for text in TEXTS)
    return server.log.count(f"message {message_id} cannot be decrypted")


@pytest.mark.parametrize("name", DAMAGES)
async def test_every_damage_is_found(server: LiveServer, cast: Cast, name: str) -> None:
    """That message alone is shown as unreadable, to everyone, and logged once at each look."""
    async with ChatClient(server.url, cast.ann.token) as ann, ChatClient(server.url, cast.bob.token) as bob:
        await ann.connect()
        await bob.connect()
        made = await talk(ann, cast)
        await in_database(lambda: DAMAGES[name](made))
        for looks, client in enumerate((ann, bob), start=1):
            page = await client.ask("get_messages", conversationId=made.conversation_id)
            assert [each["content"] for each in page["messages"]] == [TEXTS[0], None, TEXTS[2]]
            assert [each.get("isUnreadable") for each in page["messages"]] == [None, True, None]
            assert page["messages"][1]["isDeleted"] is False
            assert lines_about(server, made.ids[1]) == looks


async def test_a_row_in_another_conversation_is_unreadable(server: LiveServer, cast: Cast) -> None:
    """A row moved into a conversation, with its id, is not believed there; what was there already is."""
    async with ChatClient(server.url, cast.ann.token) as ann:
        await ann.connect()
        made = await talk(ann, cast)
        there = made.elsewhere.conversation_id
        await in_database(lambda: made.change(conversation_id=there, seq=2))
        page = await ann.ask("get_messages", conversationId=str(there))
        assert [each["content"] for each in page["messages"]] == ["elsewhere", None]
        rest = await ann.ask("get_messages", conversationId=made.conversation_id)
        assert [each["content"] for each in rest["messages"]] == [TEXTS[0], TEXTS[2]]


async def test_a_row_under_another_id_is_unreadable(server: LiveServer, cast: Cast) -> None:
    """The id is sealed too."""
    async with ChatClient(server.url, cast.ann.token) as ann:
        await ann.connect()
        made = await talk(ann, cast)

        def rename() -> None:
            with connection.cursor() as cursor:
                key = uuid.uuid4() if connection.vendor == "postgresql" else uuid.uuid4().hex
                old = Message._meta.pk.get_db_prep_value(made.ids[1], connection)
                cursor.execute("UPDATE messaging_message SET id = %s WHERE id = %s", [key, old])

        await in_database(rename)
        page = await ann.ask("get_messages", conversationId=made.conversation_id)
        assert [each["content"] for each in page["messages"]] == [TEXTS[0], None, TEXTS[2]]


async def unreadable_last(ann: ChatClient, made: Talk) -> list[Frame]:
    """Look at the list of conversations while the damaged message is the newest."""
    await ann.ask("delete_message", messageId=made.ids[2])
    listed = (await ann.ask("get_conversations"))["conversations"]
    assert [each["lastMessage"]["content"] for each in listed] == [None, "elsewhere"]
    return [each["lastMessage"] for each in listed]


async def started(ann: ChatClient, made: Talk) -> list[Frame]:
    """Look by starting the conversation anew."""
    frame = await ann.ask("start_conversation", recipientId=made.people.bob.id)
    assert len(frame["messages"]) == len(TEXTS)
    return list(frame["messages"])


async def earlier(ann: ChatClient, made: Talk) -> list[Frame]:
    """Look at a page that is not the newest."""
    frame = await ann.ask("get_messages", conversationId=made.conversation_id, before=3)
    assert [each["content"] for each in frame["messages"]] == [TEXTS[0], None]
    return list(frame["messages"])


async def synced(ann: ChatClient, made: Talk) -> list[Frame]:
    """Look by having the log replayed."""
    await ann.tell("sync", cursors={made.conversation_id: 0})
    events = await ann.until(type="sync_complete")
    messages = [event["message"] for event in events if event["type"] == "new_message"]
    assert [each["content"] for each in messages] == [TEXTS[0], None, TEXTS[2]]
    return messages


async def repeated(ann: ChatClient, made: Talk) -> list[Frame]:
    """Look by sending it once more."""
    again = {"content": TEXTS[1], "clientMessageId": TEXTS[1] + made.people.bob.name}
    reply = await ann.ask("send_message", recipientId=made.people.bob.id, **again)
    assert (reply["messageId"], reply["seq"], reply["duplicate"]) == (made.ids[1], 2, True)
    return [reply["message"]]


async def searched(ann: ChatClient, made: Talk) -> list[Frame]:
    """Look by searching, which passes over it."""
    frame = await ann.ask("search_messages", query="find", conversationId=made.conversation_id)
    assert [each["content"] for each in frame["messages"]] == [TEXTS[2], TEXTS[0]]
    return []


LOOKS: tuple[Callable[[ChatClient, Talk], Awaitable[list[Frame]]], ...] = (
    started,
    earlier,
    synced,
    repeated,
    searched,
    unreadable_last,
)


@pytest.mark.parametrize("look", LOOKS)
async def test_wherever_one_looks(
    server: LiveServer, cast: Cast, look: Callable[[ChatClient, Talk], Awaitable[list[Frame]]]
) -> None:
    """Each way to see messages shows the others and says of this one that it is unreadable; each logs it once."""
    async with ChatClient(server.url, cast.ann.token) as ann:
        await ann.connect()
        made = await talk(ann, cast)
        await in_database(lambda: DAMAGES["a flipped byte of the text"](made))
        for looks in (1, 2):
            found = {each["messageId"]: each.get("isUnreadable", False) for each in await look(ann, made)}
            assert all(is_unreadable == (key == made.ids[1]) for key, is_unreadable in found.items())
            assert lines_about(server, made.ids[1]) == looks


async def test_what_was_queued_is_delivered_around_it(server: LiveServer, cast: Cast) -> None:
    """Who comes back gets every event in order, the damaged message and its edit as unreadable, and stays connected."""
    async with ChatClient(server.url, cast.ann.token) as ann:
        await ann.connect()
        made = await talk(ann, cast)
        await ann.ask("update_message", messageId=made.ids[1], content="find another")
        await in_database(lambda: DAMAGES["a flipped byte of the MAC"](made))
        async with ChatClient(server.url, cast.bob.token) as bob:
            await bob.connect()
            events = bob.take_all()
            assert [event["seq"] for event in events] == [1, 2, 3, 4]
            assert [event["message"]["content"] for event in events[:3]] == [TEXTS[0], None, TEXTS[2]]
            assert events[1]["message"]["isUnreadable"] is True
            edit = events[3]
            assert (edit["type"], edit["content"], edit["isUnreadable"]) == ("message_edited", None, True)
            assert lines_about(server, made.ids[1]) == 1
            await ann.ask("send_message", recipientId=cast.bob.id, content="live")
            assert (await bob.next(type="new_message"))["message"]["content"] == "live"


async def test_replies_lose_the_excerpt_alone(server: LiveServer, cast: Cast) -> None:
    """A reply to it stands as it is, without an excerpt, in pages, events and lists; nothing of that is kept."""
    async with ChatClient(server.url, cast.ann.token) as ann, ChatClient(server.url, cast.bob.token) as bob:
        await ann.connect()
        await bob.connect()
        made = await talk(ann, cast)
        await in_database(lambda: DAMAGES["a byte less"](made))
        bare = {"messageId": made.ids[1], "senderId": cast.ann.id}
        reply = await ann.ask("send_message", recipientId=cast.bob.id, content="yes", replyToMessageId=made.ids[1])
        event = (await bob.until(type="new_message"))[-1]
        while event["seq"] < reply["seq"]:
            event = await bob.next(type="new_message")
        assert reply["message"]["replyTo"] == event["message"]["replyTo"] == bare
        newest = await bob.ask("get_messages", conversationId=made.conversation_id, limit=1)
        listed = (await bob.ask("get_conversations"))["conversations"][0]["lastMessage"]
        assert newest["messages"] == [listed]
        assert (listed["content"], listed["replyTo"]) == ("yes", bare)
        looks = lines_about(server, made.ids[1])
        assert looks == 3  # the reply, the page and the list
        await bob.ask("get_messages", conversationId=made.conversation_id)
        assert lines_about(server, made.ids[1]) == looks + 1


async def test_sending_again_makes_no_second_message(server: LiveServer, cast: Cast) -> None:
    """Where it cannot be told what a client id was used for, its reuse is refused and logged, and nothing is sent."""
    async with ChatClient(server.url, cast.ann.token) as ann:
        await ann.connect()
        made = await talk(ann, cast)
        await in_database(lambda: made.change(sealed_fingerprint=made.elsewhere.sealed_fingerprint))
        again = {"content": TEXTS[1], "clientMessageId": TEXTS[1] + cast.bob.name}
        reply = await ann.ask("send_message", recipientId=cast.bob.id, **again)
        assert reply["code"] == "IDEMPOTENCY_MISMATCH"
        assert server.log.count(f"the fingerprint of message {made.ids[1]} cannot be decrypted") == 1
        page = await ann.ask("get_messages", conversationId=made.conversation_id)
        assert [each["content"] for each in page["messages"]] == list(TEXTS)


async def test_an_edit_mends_it(server: LiveServer, cast: Cast) -> None:
    """Its author may write it anew; its client id still stands for what was first sent, if that can be read."""
    async with ChatClient(server.url, cast.ann.token) as ann:
        await ann.connect()
        made = await talk(ann, cast)
        await in_database(lambda: DAMAGES["nothing"](made))
        edited, other = await asyncio.gather(
            ann.ask("update_message", messageId=made.ids[1], content="again"),
            ann.ask("add_reaction", messageId=made.ids[1], emoji="+"),
        )
        assert (edited["type"], other["type"]) == ("message_edited", "reaction_added")
        page = await ann.ask("get_messages", conversationId=made.conversation_id)
        assert [each["content"] for each in page["messages"]] == [TEXTS[0], "again", TEXTS[2]]
        assert (await repeated(ann, made))[0]["content"] == "again"


async def test_an_edit_of_what_an_unknown_key_sealed(server: LiveServer, cast: Cast) -> None:
    """It is sealed by a key that is there; its fingerprint stays unreadable."""
    async with ChatClient(server.url, cast.ann.token) as ann:
        await ann.connect()
        made = await talk(ann, cast)
        await in_database(lambda: DAMAGES["an unknown key"](made))
        edited = await ann.ask("update_message", messageId=made.ids[1], content="again")
        assert edited["type"] == "message_edited"
        page = await ann.ask("get_messages", conversationId=made.conversation_id)
        assert page["messages"][1]["content"] == "again"


async def test_it_can_be_deleted(server: LiveServer, cast: Cast) -> None:
    """Deleting for everyone leaves a tombstone, which is not unreadable and no longer logged."""
    async with ChatClient(server.url, cast.ann.token) as ann:
        await ann.connect()
        made = await talk(ann, cast)
        await in_database(lambda: DAMAGES["no content"](made))
        assert (await ann.ask("delete_message", messageId=made.ids[1], forEveryone=True))["type"] == "message_deleted"
        tombstone = (await ann.ask("get_messages", conversationId=made.conversation_id))["messages"][1]
        assert (tombstone["isDeleted"], "isUnreadable" in tombstone) == (True, False)
        assert lines_about(server, made.ids[1]) == 0
