"""`manage.py revoke_token`: ends tokens and the live sessions that they opened."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from messaging.management.accounts import user_named
from messaging.services.tokens import JTI_MAX_CHARACTERS, revoke_token, revoke_user


class Command(BaseCommand):
    """Revokes one token by its id, or every token of a user."""

    help = (
        "Revoke one token by its id (the claim `jti`), whoever issued it, or with --user every token of a user that "
        "was issued until now. Live sessions are closed within three seconds. Revoking a refresh token of this "
        "server's own revokes the access tokens that came from it. A revocation by id cannot be taken back; after "
        "--user the user can log in again and newer tokens work."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the two ways to say what is revoked."""
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("jti", metavar="JTI", nargs="?", help="the token's claim `jti`, not the token itself")
        what.add_argument("--user", metavar="USERNAME", help="revoke every token of this user issued until now")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002  Django's signature
        """Revoke and say what was done."""
        if options["user"] is not None:
            self._revoke_user(options["user"])
        else:
            self._revoke_token(options["jti"])

    def _revoke_user(self, username: str) -> None:
        user = user_named(username)
        with transaction.atomic():
            cutoff = revoke_user(user.pk)
        self.stdout.write(f"Revoked every token of {username} issued until {cutoff:%Y-%m-%dT%H:%M:%S.%f}Z.")

    def _revoke_token(self, jti: str) -> None:
        if jti.count(".") == 2:  # noqa: PLR2004 — a JWT is three parts
            raise CommandError("This looks like a whole token. Give its id, the claim `jti`.")
        if not 0 < len(jti) <= JTI_MAX_CHARACTERS:
            raise CommandError(f"A token's id has 1 to {JTI_MAX_CHARACTERS} characters.")
        with transaction.atomic():
            was_good = revoke_token(jti=jti, expires_at=None)
        self.stdout.write("Revoked the token." if was_good else "The token was revoked already.")
