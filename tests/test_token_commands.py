"""`manage.py issue_token` and `manage.py revoke_token`, as operators use them."""

from __future__ import annotations

import asyncio
from io import StringIO

import jwt
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from messaging.gateway.tokens import Claims, check_token
from messaging.protocol.errors import AuthError, TokenRevoked
from messaging.services import tokens
from tests.cast import Cast


def run(*arguments: str) -> str:
    """What a command prints."""
    output = StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue()


def claims_of(token: str) -> Claims:
    """What a good token says."""
    return asyncio.run(check_token(token))


def is_revoked(token: str) -> bool:
    """Whether a token is refused because it was revoked."""
    try:
        tokens.check_credentials(claims_of(token))
    except AuthError as error:
        return isinstance(error, TokenRevoked)
    return False


def test_an_issued_token_is_all_that_is_printed(cast: Cast) -> None:
    """A script can take the output as it is."""
    token = run("issue_token", cast.ann.name).removesuffix("\n")
    assert claims_of(token).user_id == cast.ann.id
    assert not is_revoked(token)


def test_no_token_is_issued_for_who_could_not_use_it(cast: Cast) -> None:
    """Unknown and inactive users are named."""
    with pytest.raises(CommandError, match="no user named 'nobody-at-all'"):
        run("issue_token", "nobody-at-all")
    User.objects.filter(pk=cast.ann.user.pk).update(is_active=False)
    with pytest.raises(CommandError, match="not active"):
        run("issue_token", cast.ann.name)


def test_a_token_is_revoked_by_its_id(cast: Cast) -> None:
    """Once; the second time is no error. Another issuer's token will do, and other tokens go on."""
    token = cast.ann.new_token()
    jti = claims_of(token).jti
    assert run("revoke_token", jti) == "Revoked the token.\n"
    assert run("revoke_token", jti) == "The token was revoked already.\n"
    assert is_revoked(token)
    assert not is_revoked(cast.ann.token)
    assert OutstandingToken.objects.get(jti=jti).expires_at == tokens.NEVER


def test_a_session_is_revoked_by_the_id_of_its_refresh_token(cast: Cast) -> None:
    """The end of what is known stays as it is known."""
    pair = tokens.issue_token_pair(cast.ann.user)
    jti = jwt.decode(pair.refresh, options={"verify_signature": False})["jti"]
    ends = OutstandingToken.objects.get(jti=jti).expires_at
    run("revoke_token", jti)
    assert is_revoked(pair.access)
    assert OutstandingToken.objects.get(jti=jti).expires_at == ends


def test_every_token_of_a_user_is_revoked_until_now(cast: Cast) -> None:
    """Also those that this server never saw; nobody else's."""
    assert run("revoke_token", "--user", cast.ann.name).startswith(
        f"Revoked every token of {cast.ann.name} issued until 20"
    )
    assert is_revoked(cast.ann.token)
    assert not is_revoked(cast.bob.token)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required"),
        (["some-jti", "--user", "ann"], "not allowed with"),
        (["--user", "nobody-at-all"], "no user named"),
        (["a.b.c"], "whole token"),
        ([""], "1 to 255"),
        (["x" * 256], "1 to 255"),
    ],
)
def test_a_command_that_names_nothing_to_revoke_is_refused(
    live_database: None, arguments: list[str], words: str
) -> None:
    """In a sentence that says why."""
    with pytest.raises(CommandError, match=words):
        run("revoke_token", *arguments)


@pytest.mark.parametrize("command", ["issue_token", "revoke_token"])
def test_help_says_what_happens(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An operator need not read the documentation first."""
    with pytest.raises(SystemExit):
        run(command, "--help")
    printed = capsys.readouterr().out
    assert "USERNAME" in printed
    assert "revoke" in printed
