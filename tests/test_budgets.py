"""What requests cost in statements: the same for much data as for little; and what an event costs in a crowd."""

import uuid
from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from groups.schemas.groups import CreateCommunity, GetCommunities, GetUserGroups, UpdateGroup
from groups.schemas.members import AddGroupMember, GetGroupMembers, MuteMember
from groups.schemas.messages import GroupMessageSent
from groups.services import ending, groups, listing, members, pins, roles
from messaging import services
from messaging.delivery import doors, profiles
from messaging.delivery.caller import Caller
from messaging.delivery.news import LiveEvent
from messaging.delivery.sending import SendCommand
from messaging.models import Event, Message, Participant, Reaction
from messaging.schemas.conversations import GetConversations, MarkRead, Typing
from messaging.schemas.messages import GetMessages, SearchMessages
from messaging.services.typing import typing_audience
from tests.cast import Cast, Person, new_person
from tests.database import in_database
from tests.test_communities import seat_crowd
from tests.test_engine import Engine, engine

__all__ = ["engine"]
STATEMENTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")


def cost(service: Callable[..., Any], *args: Any, writes: bool = True, **kwargs: Any) -> int:
    """Return how many statements a service takes, run as the server runs it, with nothing remembered of people."""
    profiles._remembered.clear()
    with CaptureQueriesContext(connection) as captured:
        if writes:
            doors.write(service, *args, command_id=uuid.uuid4(), **kwargs)
        else:
            doors.read(service, *args, **kwargs)
    return sum(query["sql"].lstrip().startswith(STATEMENTS) for query in captured)


async def _filled(engine: Engine, cast: Cast, count: int) -> list[Message]:
    """Have ann and bob write some messages to each other, each with a reply, a mention and reactions."""
    ann, bob = engine.caller(cast.ann), engine.caller(cast.bob)
    for number in range(count):
        await engine.send(ann, cast.bob, f"@{cast.bob.name} {number}")
        await engine.send(bob, cast.ann, str(number))

    def decorate() -> list[Message]:
        messages = list(Message.objects.filter(conversation__participants__user=cast.ann.user).order_by("seq"))
        Message.objects.filter(pk__in=[each.pk for each in messages[1:]]).update(reply_to=messages[0])
        Reaction.objects.bulk_create(
            Reaction(message=each, user=person.user, emoji="+") for each in messages for person in (cast.ann, cast.bob)
        )
        return messages

    return await in_database(decorate)


def _direct_costs(cast: Cast, messages: list[Message]) -> dict[str, int]:
    ann, conversation = cast.ann.user.pk, str(messages[0].conversation_id)
    own, other = str(messages[-2].pk), str(messages[-1].pk)
    page, again = GetMessages(conversation_id=conversation), GetMessages(conversation_id=conversation, limit=200)
    return {
        "get_messages, made": cost(services.get_messages, ann, page, writes=False),
        "get_messages, kept": cost(services.get_messages, ann, page, writes=False),
        "get_messages, 200": cost(services.get_messages, ann, again, writes=False),
        "start_conversation": cost(services.start_conversation, ann, cast.bob.id),
        "update_message": cost(services.edit_message, ann, own, content=f"@{cast.bob.name}"),
        "add_reaction": cost(services.add_reaction, ann, other, emoji="-"),
        "add_reaction again": cost(services.add_reaction, ann, other, emoji="-"),
        "remove_reaction": cost(services.remove_reaction, ann, other, emoji="-"),
        "mark_read": cost(services.mark_read, ann, MarkRead(conversation_id=conversation, seq=2)),
        "typing": cost(typing_audience, ann, Typing(conversation_id=conversation, is_typing=True), writes=False),
        "get_conversations": cost(services.get_conversations, ann, GetConversations(), writes=False),
        "search_messages": cost(services.search_messages, ann, SearchMessages(query="nothing"), writes=False),
        "delete_message": cost(services.delete_for_everyone, ann, own),
        "delete_message for oneself": cost(services.delete_for_self, ann, other),
        "delete_conversation": cost(services.delete_conversation, ann, conversation),
    }


DIRECT_BUDGET = 24


async def test_direct_requests_cost_the_same_whatever_there_is(engine: Engine, cast: Cast) -> None:
    """With four messages or two hundred a request takes the same few statements."""
    mallory = await in_database(lambda: new_person("mallory"))
    little = await _filled(engine, Cast(cast.carl, mallory, cast.ann, cast.bob), 2)
    much = await _filled(engine, cast, 100)
    small = await in_database(lambda: _direct_costs(Cast(cast.carl, mallory, cast.ann, cast.bob), little))
    large = await in_database(lambda: _direct_costs(cast, much))
    small["get_messages, made"] += 1  # what is quoted is not on the page
    small["search_messages"] += 2  # two hundred are looked for in wider and wider steps
    assert large == small
    assert max(large.values()) <= DIRECT_BUDGET, large
    assert large["get_messages, kept"] <= 2, large


def _group_costs(cast: Cast, size: int) -> dict[str, int]:
    """Return what each request takes in a community with this many members beside ann and bob."""
    ann, bob = cast.ann.user.pk, cast.bob.user.pk
    request = CreateCommunity(name="x", member_ids=[cast.bob.id, cast.mallory.id], max_members=2_000)
    made = doors.write(groups.create_community, ann, request, command_id=uuid.uuid4()).result
    group_id = str(made.group_id)
    seat_crowd(group_id, size)
    message = Message.objects.create(
        conversation_id=group_id, seq=10_000, sender=cast.ann.user, sender_key=str(ann), key_id=0, sealed_content=b"x"
    )
    newcomers = [str(user.pk) for user in User.objects.bulk_create(User(username=uuid.uuid4().hex) for _ in range(2))]
    in_group = (group_id, cast.bob.id)
    return {
        "create_community": cost(groups.create_community, ann, request),
        "get_group_info": cost(groups.group_info, ann, group_id, writes=False),
        "get_user_groups": cost(listing.user_groups, ann, GetUserGroups(), writes=False),
        "get_communities": cost(listing.communities, ann, GetCommunities(joined=True), writes=False),
        "get_group_members": cost(members.group_members, ann, GetGroupMembers(group_id=group_id), writes=False),
        "update_group": cost(groups.update_group, ann, UpdateGroup(group_id=group_id, name="y")),
        "add_group_member": cost(members.add_members, ann, AddGroupMember(group_id=group_id, user_ids=newcomers)),
        "promote_member": cost(roles.promote_member, ann, *in_group),
        "demote_member": cost(roles.demote_member, ann, *in_group),
        "mute_member": cost(roles.mute_member, ann, MuteMember(group_id=group_id, user_id=cast.bob.id)),
        "unmute_member": cost(roles.unmute_member, ann, *in_group),
        "pin_message": cost(pins.pin_message, ann, group_id, str(message.pk)),
        "unpin_message": cost(pins.unpin_message, ann, group_id, str(message.pk)),
        "get_pinned_messages": cost(pins.pinned_messages, ann, group_id, writes=False),
        "leave_group": cost(members.leave_group, bob, group_id),
        "join_community": cost(members.join_community, bob, group_id),
        "remove_group_member": cost(members.remove_member, ann, *in_group),
        "transfer_ownership": cost(roles.transfer_ownership, ann, group_id, cast.mallory.id),
        "delete_group": cost(ending.delete_group, cast.mallory.user.pk, group_id),
        "restore_group": cost(ending.restore_group, cast.mallory.user.pk, group_id),
        "delete_group for good": cost(ending.delete_group, cast.mallory.user.pk, group_id, permanent=True),
    }


GROUP_BUDGET = 18


async def test_group_requests_cost_the_same_whatever_the_size(live_database: None, cast: Cast) -> None:
    """With five members or a thousand a request takes the same few statements."""
    other = Cast(cast.carl, *await in_database(lambda: [new_person(name) for name in ("bob", "carl", "mallory")]))
    small = await in_database(lambda: _group_costs(cast, 2))
    large = await in_database(lambda: _group_costs(other, 1_000))
    assert large == small
    assert max(large.values()) <= GROUP_BUDGET, large


ONLINE = 100


async def test_an_event_reaches_a_hundred_of_ten_thousand(engine: Engine, cast: Cast) -> None:
    """One message costs one row of the log, one item for the channel layer and a frame for each who is online."""

    def prepare() -> tuple[str, list[Person]]:
        people = [new_person("bob") for _ in range(ONLINE)]
        request = CreateCommunity(name="x", max_members=20_000)
        made = doors.write(groups.create_community, cast.ann.user.pk, request, command_id=uuid.uuid4()).result
        seat_crowd(str(made.group_id), 10_000)
        for person in people:
            doors.write(members.join_community, person.user.pk, made.group_id, command_id=uuid.uuid4())
        return str(made.group_id), people

    community, people = await in_database(prepare)
    sender = engine.caller(cast.ann)
    callers = [sender, *(engine.caller(person) for person in people)]
    last_seq = 1 + ONLINE
    for caller in callers:
        engine.hub.subscribe(
            caller.connection,
            community,
            position=last_seq,
            last_seq=last_seq,
            visible_from=1,
        )
    before = await in_database(lambda: _rows_of(community))
    reply = await engine.writer.submit(_command(sender, community))
    assert reply.seq == last_seq + 1
    assert await in_database(lambda: _rows_of(community)) == (before[0] + 1, before[1])
    assert [type(item) for item in engine.published] == [LiveEvent]
    assert [len(caller.connection.frames) for caller in callers] == [1] * (ONLINE + 1)  # type: ignore[attr-defined]
    assert len({id(caller.connection.frames[0]) for caller in callers[1:]}) == 1  # type: ignore[attr-defined]


def _command(sender: Caller, community: str) -> SendCommand:
    return SendCommand(
        caller=sender, reply_type=GroupMessageSent, content="x", conversation_id=community, is_for_group=True
    )


def _rows_of(community: str) -> tuple[int, list[tuple[Any, ...]]]:
    """Return the number of events, and what stands in the rows of all participants."""
    places = Participant.objects.filter(conversation_id=community).order_by("pk")
    return Event.objects.filter(conversation_id=community).count(), list(places.values_list())
