"""`manage.py demo_data`: people to try the service with."""

import secrets
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from rich.progress import track

_NAMED = ("ann", "bob", "carl")
_ADMINISTRATOR = "carl"
_BATCH = 1_000  # users of one INSERT


class Command(BaseCommand):
    """Creates the demo users that are not there yet, and says how to log in as them."""

    help = (
        "Create the users ann, bob and carl, who is an administrator, and with --users as many further ones (user1, "
        "user2, …) as make up the number. Their password is DEMO_PASSWORD, or a random one that is printed. Existing "
        "users stay as they are. Nothing is created beside other people's data: on a database that DATABASE_URL names, "
        "DEBUG has to be true."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--users", type=int, default=len(_NAMED), help="how many users to have (%(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002  Django's signature
        """Create who is missing and print the logins."""
        if options["users"] < 0:
            raise CommandError("--users must not be negative.")
        if not (settings.DEBUG or settings.DATABASE_IS_EMBEDDED):
            self.stdout.write("No demo users: DATABASE_URL names a database, and DEBUG is not true.")
            return
        password = settings.DEMO_PASSWORD or secrets.token_urlsafe(9)
        made = _create_missing(_names(options["users"]), password)
        self.stdout.write(f"{made} users created.")
        self._welcome(password if made or settings.DEMO_PASSWORD else "the one printed when they were created")

    def _welcome(self, password: str) -> None:
        """Print the address, the logins and a first command to try."""
        address = f"http://{'127.0.0.1' if settings.HOST == '0.0.0.0' else settings.HOST}:{settings.PORT}"
        self.stdout.write(
            f"\nWebSockets are served at {address.replace('http', 'ws')}/ws/\n"
            f"The admin is at {address}/admin/ (log in as carl)\n"
            f"The password of ann, bob and carl is {password}\n\n"
            "Send a message from another terminal:\n\n"
            f'  .venv/bin/python docs/examples/send_message.py --url {address} --as ann --to bob "Hello"\n'
        )


def _names(count: int) -> list[str]:
    """The names of this many demo users."""
    return [*_NAMED, *(f"user{number}" for number in range(1, count - len(_NAMED) + 1))]


def _create_missing(names: list[str], password: str) -> int:
    """Create those users who do not exist, and return how many those were."""
    users = get_user_model()._default_manager  # noqa: SLF001  Django's documented way to any user model's manager
    existing = set(users.values_list(get_user_model().USERNAME_FIELD, flat=True))
    missing = [name for name in names if name not in existing]
    if not missing:
        return 0
    hashed = make_password(password)  # once: a hash takes longer than a user
    with transaction.atomic():
        for start in track(range(0, len(missing), _BATCH), description="Users", disable=len(missing) <= _BATCH):
            users.bulk_create(_user(name, hashed) for name in missing[start : start + _BATCH])
    return len(missing)


def _user(name: str, hashed_password: str) -> Any:
    """A demo user, not yet stored."""
    is_administrator = name == _ADMINISTRATOR
    return get_user_model()(
        **{get_user_model().USERNAME_FIELD: name},
        password=hashed_password,
        first_name=name.capitalize(),
        is_staff=is_administrator,
        is_superuser=is_administrator,
    )
