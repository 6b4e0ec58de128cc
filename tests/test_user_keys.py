"""Users may have keys of any type: the service follows the user model of the project that it is put into."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import jwt
import pytest
from django.conf import settings
from django.db import connection

from tests.client import ChatClient
from tests.server import LiveServer, database_url

_MAKE_PEOPLE = """
import json
from tests.people.models import Person
print(json.dumps([str(Person.objects.create(username=name).pk) for name in ("ann", "bob")]))
"""


@pytest.fixture
def people_database(live_database: None, tmp_path: Path) -> Iterator[str]:
    """An empty database beside the suite's own."""
    if connection.vendor == "sqlite":
        yield f"sqlite:///{tmp_path / 'people.sqlite3'}"
        return
    name = f"people_{uuid.uuid4().hex[:8]}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    yield database_url().rpartition("/")[0] + f"/{name}"
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_people_with_uuids_talk(people_database: str, start_server: Callable[..., LiveServer]) -> None:
    """Users whose keys are UUIDs send, mention and load messages like any others."""
    environment = {"DJANGO_SETTINGS_MODULE": "tests.people_settings", "DATABASE_URL": people_database}
    _manage(environment, "migrate", "-v0")
    ann_id, bob_id = json.loads(_manage(environment, "shell", "-v0", "-c", _MAKE_PEOPLE).splitlines()[-1])
    server = start_server(**environment)
    async with ChatClient(server.url, _token(ann_id)) as ann, ChatClient(server.url, _token(bob_id)) as bob:
        assert (await ann.connect())["userId"] == ann_id
        await bob.connect()
        sent = await ann.ask("send_message", recipientId=bob_id, content="Hello @bob", clientMessageId="1")
        event = await bob.next(type="new_message")
        assert event["message"]["sender"]["profileImage"] == "https://example.com/face.png"
        assert event["message"]["mentions"] == [{"type": "user", "userId": bob_id, "username": "bob"}]
        page = await bob.ask("get_messages", recipientId=ann_id)
        assert [message["content"] for message in page["messages"]] == ["Hello @bob"]
        again = await ann.ask("send_message", recipientId=bob_id, content="Hello @bob", clientMessageId="1")
        assert (again["seq"], again["duplicate"]) == (sent["seq"], True)
        assert (await ann.ask("block_user", userId=bob_id))["type"] == "user_blocked"
        assert (await bob.ask("send_message", recipientId=ann_id, content="?"))["code"] == "USER_BLOCKED"


def _token(user_id: str) -> str:
    claims = {"sub": user_id, "jti": uuid.uuid4().hex, "exp": time.time() + 600}
    return jwt.encode(claims, settings.JWT_SECRET, algorithm="HS256")


def _manage(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "manage.py", *arguments]
    variables = {**os.environ, **environment}
    done = subprocess.run(command, env=variables, cwd=settings.BASE_DIR, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
