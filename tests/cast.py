"""The people of the tests: ann and bob talk, carl is their admin, mallory is outside."""

import uuid
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

import jwt
from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone


@dataclass(frozen=True)
class Person:
    """A user of the service."""

    user: User

    @property
    def id(self) -> str:
        """The user's id as the protocol writes it."""
        return str(self.user.pk)

    @property
    def name(self) -> str:
        """The user name, which is another one in each test."""
        return self.user.username

    @cached_property
    def token(self) -> str:
        """A token that is good for an hour, the same one whenever it is asked for."""
        return self.new_token()

    def new_token(self, **claims: Any) -> str:
        """Another token of this user; a claim given as None is left out."""
        now = timezone.now()
        usual = {"sub": self.id, "jti": uuid.uuid4().hex, "iat": now, "exp": now + timedelta(hours=1)}
        wanted = {name: value for name, value in {**usual, **claims}.items() if value is not None}
        return jwt.encode(wanted, settings.JWT_SECRET, algorithm="HS256")


@dataclass(frozen=True)
class Cast:
    """The four people of one test."""

    ann: Person
    bob: Person
    carl: Person
    mallory: Person


def new_person(name: str, **fields: Any) -> Person:
    """Create a user whose name begins with this one and is unique."""
    return Person(User.objects.create_user(f"{name}_{uuid.uuid4().hex[:12]}", **fields))


def new_cast() -> Cast:
    """Create the people of one test."""
    return Cast(
        ann=new_person("ann"),
        bob=new_person("bob"),
        carl=new_person("carl", is_staff=True, is_superuser=True),
        mallory=new_person("mallory"),
    )
