"""`manage.py issue_token`: an access token for trying things out, or for a program of the operator's own."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from messaging.management.accounts import user_named
from messaging.services.tokens import issue_access_token


class Command(BaseCommand):
    """Prints an access token of a user."""

    help = (
        "Print an access token of a user, and nothing else, so that a script can take it: "
        "TOKEN=$(python manage.py issue_token ann). It is good for an hour; whoever has it is that user. "
        "`manage.py revoke_token --user USERNAME` ends it early."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the argument."""
        parser.add_argument("username", metavar="USERNAME", help="whose token; the user must be active")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002  Django's signature
        """Issue and print."""
        user = user_named(options["username"])
        if not user.is_active:
            raise CommandError(f"The user {options['username']!r} is not active: no token of theirs would be accepted.")
        self.stdout.write(issue_access_token(user))
