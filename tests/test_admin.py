"""Django admin: what moderators do reaches live sockets as everybody's events; what they may read is bounded."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from groups.models import Group, Membership
from presence.models import Connection
from tests.cast import Cast, new_person
from tests.client import Frame
from tests.database import in_database
from tests.server import LiveServer
from tests.test_group_members import say
from tests.test_groups import create, enter


def admin_of(cast: Cast) -> Client:
    """Return a browser in which carl, the administrator, is logged in."""
    client = Client()
    client.force_login(cast.carl.user)
    return client


def act(client: Client, table: str, action: str, *keys: object) -> str:
    """Do an action on rows of a table, and return the page that follows."""
    address = reverse(f"admin:{table}_changelist")
    chosen = {"action": action, "_selected_action": [str(key) for key in keys]}
    response = client.post(address, chosen, follow=True)
    assert response.status_code == 200
    return response.content.decode()


def membership(group_id: str, user: User) -> int:
    """Return the key of somebody's membership."""
    return Membership.objects.get(group__conversation_id=group_id, user=user).pk


async def test_moderators_act_on_members(server: LiveServer, cast: Cast) -> None:
    """Muting, unmuting, promoting, demoting, transferring and removing reach the members, by nobody's name."""
    async with AsyncExitStack() as stack:
        ann, bob = await enter(stack, server, cast.ann, cast.bob)
        group_id = await create(ann, cast.bob, cast.mallory)
        await ann.ask("ping")
        bob.take_all()
        client = await in_database(lambda: admin_of(cast))

        async def moderate(action: str, user: User) -> str:
            return await in_database(lambda: act(client, "groups_membership", action, membership(group_id, user)))

        steps: list[tuple[str, User, Frame]] = [
            ("mute", cast.bob.user, {"type": "member_muted", "userId": cast.bob.id, "until": None}),
            ("unmute", cast.bob.user, {"type": "member_unmuted", "userId": cast.bob.id}),
            ("mute_for_a_day", cast.ann.user, {"type": "member_muted", "userId": cast.ann.id}),
            ("promote", cast.bob.user, {"type": "member_promoted", "role": "admin"}),
            ("demote", cast.bob.user, {"type": "member_demoted", "role": "member"}),
            ("make_owner", cast.bob.user, {"type": "ownership_transferred", "from": cast.ann.id, "to": cast.bob.id}),
            ("remove", cast.mallory.user, {"type": "member_removed", "userId": cast.mallory.id, "removedBy": None}),
        ]
        for action, user, expected in steps:
            await moderate(action, user)
            event = await bob.next(type=expected["type"])
            assert expected.items() <= event.items()
        assert "transfer the ownership first" in await moderate("remove", cast.bob.user)
        refused = await ann.ask("send_group_message", groupId=group_id, content="x")
        assert refused["code"] == "MEMBER_MUTED"
        entries = await in_database(lambda: LogEntry.objects.filter(user=cast.carl.user).count())
        assert entries == len(steps)


async def test_a_frozen_group_comes_back_frozen(server: LiveServer, cast: Cast) -> None:
    """Deleting and restoring, by its owner too, does not thaw it; one that was thawed before comes back open."""
    async with AsyncExitStack() as stack:
        (ann,) = await enter(stack, server, cast.ann)
        group_id = await create(ann, cast.bob)
        client = await in_database(lambda: admin_of(cast))
        for actions, is_frozen in ((("freeze", "soft_delete"), True), (("thaw", "soft_delete"), False)):
            for action in actions:
                await in_database(partial(act, client, "groups_group", action, group_id))
            assert (await ann.ask("restore_group", groupId=group_id))["type"] == "group_restored"
            assert (await ann.ask("get_group_info", groupId=group_id))["group"]["isFrozen"] is is_frozen


async def test_moderators_act_on_groups(server: LiveServer, cast: Cast) -> None:
    """A frozen group takes nothing new but can be read and left; deleting and restoring reach the members."""
    async with AsyncExitStack() as stack:
        ann, bob = await enter(stack, server, cast.ann, cast.bob)
        group_id = await create(ann, cast.bob)
        message_id = (await say(ann, group_id))["messageId"]
        await bob.until(type="new_group_message")
        client = await in_database(lambda: admin_of(cast))

        async def moderate(action: str) -> str:
            return await in_database(lambda: act(client, "groups_group", action, group_id))

        await moderate("freeze")
        assert (await bob.next())["changes"] == {"isFrozen": True}
        requests: list[tuple[str, dict[str, Any]]] = [
            ("send_group_message", {"content": "x"}),
            ("update_group", {"name": "x"}),
            ("add_group_member", {"userId": cast.mallory.id}),
            ("delete_group", {}),
        ]
        for request, fields in requests:
            assert (await ann.ask(request, groupId=group_id, **fields))["code"] == "CONFLICT"
        assert (await ann.ask("add_reaction", messageId=message_id, emoji="+"))["code"] == "CONFLICT"
        assert (await bob.ask("get_group_info", groupId=group_id))["group"]["isFrozen"] is True
        assert len((await bob.ask("get_messages", groupId=group_id))["messages"]) == 1
        await moderate("thaw")
        assert (await bob.next())["changes"] == {"isFrozen": False}
        await say(ann, group_id)
        await bob.next(type="new_group_message")
        await moderate("soft_delete")
        assert (await bob.next())["type"] == "group_deleted"
        assert "There is nothing here" in await moderate("freeze")
        await moderate("restore")
        assert (await bob.next())["type"] == "group_restored"
        assert "this group is not deleted" in await moderate("restore")
        assert (await bob.ask("leave_group", groupId=group_id))["type"] == "member_left"


async def test_moderators_delete_messages(server: LiveServer, cast: Cast) -> None:
    """A message deleted in admin is a tombstone for everybody at once."""
    async with AsyncExitStack() as stack:
        ann, bob = await enter(stack, server, cast.ann, cast.bob)
        sent = await ann.ask("send_message", recipientId=cast.bob.id, content="x")
        await bob.next(type="new_message")
        client = await in_database(lambda: admin_of(cast))
        await in_database(lambda: act(client, "messaging_message", "delete_for_everyone", sent["messageId"]))
        for each in (ann, bob):
            event = await each.next()
            assert (event["type"], event["messageId"], event["forEveryone"]) == (
                "message_deleted",
                sent["messageId"],
                True,
            )
        again = await in_database(lambda: act(client, "messaging_message", "delete_for_everyone", sent["messageId"]))
        assert "the message has been deleted" in again


@pytest.mark.parametrize("kind", ["direct", "group", "community"])
async def test_what_admins_may_read(
    server: LiveServer, cast: Cast, settings: Any, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """Content shows only as far as ADMIN_READS allows, never in lists, and each look is logged without it."""
    async with AsyncExitStack() as stack:
        (ann,) = await enter(stack, server, cast.ann)
        if kind == "direct":
            message_id = (await ann.ask("send_message", recipientId=cast.bob.id, content="secret"))["messageId"]
        else:
            made = await ann.ask(f"create_{kind}", name="x")
            message_id = (await say(ann, made["groupId"], "secret"))["messageId"]

    def look() -> tuple[bool, bool, int]:
        client = admin_of(cast)
        page = client.get(reverse("admin:messaging_message_change", args=[message_id])).content.decode()
        listed = client.get(reverse("admin:messaging_message_changelist"), {"q": message_id}).content.decode()
        assert message_id in listed
        looks = LogEntry.objects.filter(user=cast.carl.user, object_id=message_id).count()
        return "secret" in page, "secret" in listed, looks

    readable = {"none": [], "communities": ["community"], "groups": ["community", "group"]}
    readable["all"] = ["community", "group", "direct"]
    looks = 0
    for setting, kinds in readable.items():
        settings.ADMIN_READS = setting
        looks += kind in kinds
        assert await in_database(look) == (kind in kinds, False, looks)
    assert sum(message_id in record.getMessage() for record in caplog.records) == looks
    assert "secret" not in caplog.text


PAGES = ("groups_group", "groups_membership", "messaging_message", "presence_connection")


async def test_lists_and_pages_open(server: LiveServer, cast: Cast) -> None:
    """Groups with their members, roles and activity, messages and connections can be looked at, by staff alone."""
    async with AsyncExitStack() as stack:
        ann, bob = await enter(stack, server, cast.ann, cast.bob)
        group_id = await create(ann, cast.bob)
        await say(bob, group_id)
        await asyncio.sleep(0.5)  # until the connections are written down

        def look() -> None:
            client, outside = admin_of(cast), Client()
            outside.force_login(cast.mallory.user)
            for table in PAGES:
                address = reverse(f"admin:{table}_changelist")
                assert client.get(address, {"q": "x"}).status_code == 200
                assert outside.get(address).status_code == 302
                assert client.get(reverse(f"admin:{table}_add")).status_code == 403
            members = client.get(reverse("admin:groups_membership_changelist"), {"group": group_id}).content.decode()
            assert members.count(cast.ann.name) >= 1
            assert members.count(cast.bob.name) >= 1
            group = client.get(reverse("admin:groups_group_change", args=[group_id])).content.decode()
            assert cast.ann.name in group
            assert client.post(reverse("admin:groups_group_delete", args=[group_id])).status_code == 403
            assert Group.objects.filter(conversation_id=group_id).exists()
            held = Connection.objects.get(user=cast.ann.user)
            assert held.address == "127.0.0.1"

        await in_database(look)


async def test_viewers_cannot_moderate(server: LiveServer, cast: Cast) -> None:
    """Staff with the right to look alone are offered no actions, and none they send is done."""
    async with AsyncExitStack() as stack:
        (ann,) = await enter(stack, server, cast.ann)
        group_id = await create(ann)

        def attempt() -> None:
            viewer = new_person("bob", is_staff=True).user
            viewer.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
            client = Client()
            client.force_login(viewer)
            act(client, "groups_group", "freeze", group_id)

        await in_database(attempt)
        assert (await ann.ask("get_group_info", groupId=group_id))["group"]["isFrozen"] is False
        await ann.quiet()


def queries_of(client: Client, table: str, group_ids: list[str]) -> int:
    """Return how many queries the list of some groups, or of their members, takes."""
    field, rows = ("conversation__in", 1) if table == "groups_group" else ("group__in", 3)
    with CaptureQueriesContext(connection) as captured:
        response = client.get(reverse(f"admin:{table}_changelist"), {field: ",".join(group_ids)})
    assert response.status_code == 200
    assert len(response.context["cl"].result_list) == rows * len(group_ids)
    return len(captured)


async def test_lists_cost_the_same_whatever_is_in_them(server: LiveServer, cast: Cast) -> None:
    """Owners and mutes are not looked up one by one."""
    async with AsyncExitStack() as stack:
        (ann,) = await enter(stack, server, cast.ann)
        group_ids = [await create(ann, cast.bob, cast.mallory) for _ in range(4)]
        await ann.ask("mute_member", groupId=group_ids[0], userId=cast.bob.id)

        def look() -> None:
            client = admin_of(cast)
            for table in ("groups_group", "groups_membership"):
                few, many = (queries_of(client, table, group_ids[:count]) for count in (1, 4))
                assert few == many
                assert few <= 8

        await in_database(look)


async def test_rows_are_not_edited(server: LiveServer, cast: Cast) -> None:
    """A page of a row has nothing to save, and saves nothing."""
    async with AsyncExitStack() as stack:
        (ann,) = await enter(stack, server, cast.ann)
        group_id = await create(ann, cast.bob)

        def attempt() -> None:
            client, address = admin_of(cast), reverse("admin:groups_group_change", args=[group_id])
            assert "_save" not in client.get(address).content.decode()
            assert client.post(address, {"name": "other"}).status_code == 403

        await in_database(attempt)
        assert (await ann.ask("get_group_info", groupId=group_id))["group"]["name"] != "other"
