"""Logging in, refreshing and revoking over HTTP, and what revocations and changed users tell the workers."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import jwt
import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.hashers import MD5PasswordHasher, make_password
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import OperationalError, transaction
from django.test import Client
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from messaging.delivery import log, profiles, publishing
from messaging.delivery.news import Revoked
from messaging.delivery.revocations import DEACTIVATED, GONE
from messaging.gateway import logins
from messaging.gateway.tokens import Claims, check_token
from messaging.models import TokenCutoff
from messaging.protocol.errors import AuthError, RateLimited, TokenRevoked, UserInactive
from messaging.services import tokens
from tests.cast import Cast, Person
from tests.client import ChatClient

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.server import LiveServer

PASSWORD = "correct horse battery staple"
Answer = tuple[int, dict[str, Any]]  # HTTP status and JSON


class CountingHasher(MD5PasswordHasher):
    """A quick hasher that tells how often it was used."""

    algorithm = "counting"
    used = 0

    def encode(self, password: str, salt: str) -> str:
        """Hash and count."""
        type(self).used += 1
        return super().encode(password, salt)


@pytest.fixture(autouse=True)
def quick_passwords(settings: Settings) -> None:
    """Hash passwords quickly."""
    settings.PASSWORD_HASHERS = [
        "tests.test_token_api.CountingHasher",
        "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    ]


@pytest.fixture
def ann(cast: Cast) -> Person:
    """Ann, who has a password."""
    cast.ann.user.set_password(PASSWORD)
    cast.ann.user.save()
    return cast.ann


@pytest.fixture
def person(cast: Cast) -> Person:
    """Someone whose password is hashed as the server does it, which knows nothing of the quick hasher."""
    cast.ann.user.password = make_password(PASSWORD, hasher="pbkdf2_sha256")
    cast.ann.user.save()
    return cast.ann


@pytest.fixture
def news(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The revocations that are published from outside of the workers."""
    published: list[Any] = []

    def publish(item: Any) -> None:
        if isinstance(item, Revoked):
            published.append(item)

    monkeypatch.setattr(publishing, "_publish_from_outside", publish)
    return published


def post(path: str, body: Any, *, bearer: str | None = None, **extra: Any) -> Answer:
    """Ask one of the token paths."""
    if bearer is not None:
        extra["HTTP_AUTHORIZATION"] = f"Bearer {bearer}"
    response = Client().post(f"/api/token/{path}", body, content_type="application/json", **extra)
    assert response["Cache-Control"] == "no-store"
    return response.status_code, response.json()


def log_in(person: Person, password: str = PASSWORD, **extra: Any) -> Answer:
    """Log a person in."""
    return post("", {"username": person.name, "password": password}, **extra)


def session_of(person: Person) -> tuple[str, str]:
    """The access and the refresh token of a new session."""
    status, answer = log_in(person)
    assert status == 200, answer
    return answer["access"], answer["refresh"]


def claims_of(token: str) -> Claims:
    """What a good access token says."""
    return async_to_sync(check_token)(token)


def jti_of(token: str) -> str:
    """The id of any token."""
    return str(jwt.decode(token, options={"verify_signature": False})["jti"])


def refusal_of(token: str) -> type[AuthError] | None:
    """Why a token opens no session now; None if it does."""
    try:
        tokens.check_credentials(claims_of(token))
    except AuthError as error:
        return type(error)
    return None


# Logging in.


def test_a_login_gives_two_tokens_of_one_session(ann: Person) -> None:
    """The access token opens sessions and names the refresh token, of which the database keeps no text."""
    access, refresh = session_of(ann)
    claims = claims_of(access)
    assert claims.user_id == ann.id
    assert claims.session_jti == jti_of(refresh)
    assert claims.issued_at is not None
    assert abs(claims.issued_at - time.time()) < 60
    assert refusal_of(access) is None
    payload = jwt.decode(access, options={"verify_signature": False})
    assert (payload["sub"], payload["token_type"]) == (ann.id, "access")
    row = OutstandingToken.objects.get(jti=jti_of(refresh))
    assert (row.token, row.user_id) == ("", ann.user.pk)
    assert abs((row.expires_at - timezone.now()).total_seconds() - 14 * 86_400) < 60


@pytest.mark.parametrize("person", ["wrong password", "unknown", "inactive"])
def test_all_failed_logins_look_and_cost_the_same(ann: Person, person: str) -> None:
    """Nobody learns from the answer, or its time, which names exist."""
    name, password = ann.name, PASSWORD
    if person == "wrong password":
        password = "wrong"
    elif person == "unknown":
        name += "x"
    else:
        User.objects.filter(pk=ann.user.pk).update(is_active=False)
    CountingHasher.used = 0
    status, answer = post("", {"username": name, "password": password})
    assert (status, answer["code"]) == (401, "AUTH_FAILED")
    assert answer["details"] == "no active user has this name and password"
    assert CountingHasher.used == 1


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ("{", "INVALID_JSON", None),
        ("[]", "VALIDATION_ERROR", None),
        ("7", "VALIDATION_ERROR", None),
        ("{}", "VALIDATION_ERROR", "username"),
        ('{"username": "ann"}', "VALIDATION_ERROR", "password"),
        ('{"username": "ann", "password": ""}', "VALIDATION_ERROR", "password"),
        ('{"username": ["ann"], "password": "x"}', "VALIDATION_ERROR", "username"),
        ('{"username": "a\\u0000", "password": "x"}', "VALIDATION_ERROR", "username"),
        ('{"username": "\\ud800", "password": "x"}', "VALIDATION_ERROR", "username"),
        ('{"username": "%s", "password": "x"}' % ("a" * 256), "VALIDATION_ERROR", "username"),
    ],
)
def test_a_request_that_is_no_login_is_told_what_is_missing(
    live_database: None, body: str, code: str, field: str | None
) -> None:
    """Errors read as they do on the socket."""
    status, answer = post("", body)
    assert (status, answer["type"], answer["code"], answer.get("field")) == (400, "error", code, field)
    assert answer["message"]


def test_other_methods_and_types_are_refused_in_json(live_database: None) -> None:
    """Only JSON can be posted, and nothing else can be done."""
    answer = Client().get("/api/token/")
    assert (answer.status_code, answer.json()["code"]) == (405, "METHOD_NOT_ALLOWED")
    answer = Client().post("/api/token/", "username=ann", content_type="application/x-www-form-urlencoded")
    assert (answer.status_code, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


def test_the_eleventh_login_after_ten_failures_has_to_wait(ann: Person, cast: Cast) -> None:
    """The right password does not help then, but others are not locked out, nor is ann elsewhere."""
    assert {log_in(ann, "wrong")[0] for _ in range(10)} == {401}
    response = Client().post(
        "/api/token/", {"username": ann.name, "password": PASSWORD}, content_type="application/json"
    )
    assert (response.status_code, response.json()["code"]) == (429, "RATE_LIMITED")
    assert 1 <= int(response["Retry-After"]) <= 60
    assert 1 <= response.json()["retryAfter"] <= 60
    assert log_in(cast.bob, "wrong")[0] == 401
    assert log_in(ann, REMOTE_ADDR="192.0.2.1")[0] == 200


def test_good_logins_do_not_count(ann: Person) -> None:
    """A script may log in as often as it likes."""
    assert {log_in(ann)[0] for _ in range(12)} == {200}


def test_failures_count_for_the_address_behind_trusted_proxies_only(ann: Person, settings: Settings) -> None:
    """Whoever invents an X-Forwarded-For is counted all the same; a proxy's clients are told apart."""
    for number in range(10):
        log_in(ann, "wrong", HTTP_X_FORWARDED_FOR=f"198.51.100.{number}")
    assert log_in(ann, HTTP_X_FORWARDED_FOR="198.51.100.99")[0] == 429
    settings.TRUSTED_PROXIES = ["127.0.0.1"]
    assert log_in(ann, HTTP_X_FORWARDED_FOR="198.51.100.99")[0] == 200


def test_the_window_slides(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each failure is forgotten when its own time is over."""
    monkeypatch.setattr(logins, "WINDOW_SECONDS", 2)
    monkeypatch.setattr(logins, "FAILURES_MAX", 2)
    logins.take_slot("192.0.2.1", cast.ann.name)
    time.sleep(1.2)
    logins.take_slot("192.0.2.1", cast.ann.name)
    with pytest.raises(RateLimited):
        logins.take_slot("192.0.2.1", cast.ann.name)
    time.sleep(1.2)
    logins.take_slot("192.0.2.1", cast.ann.name)
    with pytest.raises(RateLimited):
        logins.take_slot("192.0.2.1", cast.ann.name)


def test_attempts_side_by_side_cannot_pass_unseen(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of thirty that all see no failure yet, ten may look at the password."""
    monkeypatch.setattr(cache, "get_many", lambda _keys: {})
    passed = 0
    for _ in range(30):
        with suppress(RateLimited):
            logins.take_slot("192.0.2.1", cast.ann.name)
            passed += 1
    assert passed == 10


def test_while_the_cache_is_away_the_worker_counts_itself(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Redis people can log in, and still not guess."""

    class Away:
        def get_many(self, _keys: list[str]) -> None:
            raise ConnectionError

    monkeypatch.setattr(logins, "cache", Away())
    logins.take_slot("192.0.2.1", cast.ann.name).give_back()
    for _ in range(10):
        logins.take_slot("192.0.2.1", cast.ann.name)
    with pytest.raises(RateLimited):
        logins.take_slot("192.0.2.1", cast.ann.name)


def test_a_cache_that_goes_away_does_not_fail_a_login() -> None:
    """The slot that cannot be given back ends by itself."""

    class Away:
        def delete(self, _key: str) -> None:
            raise ConnectionError

    logins.Slot(Away(), "key").give_back()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "expected"),
    [(RuntimeError("inside"), (500, "INTERNAL_ERROR")), (OperationalError("inside"), (503, "SERVER_BUSY"))],
)
def test_an_error_inside_shows_nothing_of_itself(
    ann: Person, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception, expected: Any
) -> None:
    """The client gets an id, the log has the rest; a database that is away means later."""

    def fail(_user: object) -> None:
        raise error

    monkeypatch.setattr(tokens, "issue_token_pair", fail)
    if isinstance(error, OperationalError):
        monkeypatch.setattr("messaging.views.is_outage", lambda _error: True)
    status, answer = log_in(ann)
    assert (status, answer["code"]) == expected
    assert "inside" not in json.dumps(answer)
    assert answer.get("errorId", "") in caplog.text


# Refreshing.


def test_a_refresh_token_gives_new_access_tokens_of_the_same_session(ann: Person) -> None:
    """As often as asked; each has an id of its own."""
    access, refresh = session_of(ann)
    answers = [post("refresh/", {"refresh": refresh}) for _ in range(2)]
    assert [status for status, _ in answers] == [200, 200]
    found = [claims_of(answer["access"]) for _, answer in answers]
    assert {each.session_jti for each in found} == {jti_of(refresh)}
    assert len({each.jti for each in found} | {jti_of(access)}) == 3
    assert {each.user_id for each in found} == {ann.id}


def test_an_access_token_does_not_outlive_its_session(ann: Person) -> None:
    """A revoked session is remembered until its refresh token ends, so nothing of it may last longer."""
    _, refresh = session_of(ann)
    payload = jwt.decode(refresh, options={"verify_signature": False})
    ends = int(time.time()) + 60
    status, answer = post("refresh/", {"refresh": ann.new_token(**{**payload, "exp": ends})})
    assert status == 200
    assert claims_of(answer["access"]).expires_at == ends


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("access", "TOKEN_INVALID"),
        ("nonsense", "TOKEN_INVALID"),
        ("foreign", "TOKEN_INVALID"),
        ("expired", "TOKEN_EXPIRED"),
        ("revoked", "TOKEN_REVOKED"),
        ("cut off", "TOKEN_REVOKED"),
        ("inactive", "USER_INACTIVE"),
        ("deleted", "USER_NOT_FOUND"),
    ],
)
def test_a_session_that_has_ended_is_not_refreshed(ann: Person, change: str, code: str) -> None:
    """Each end has its code."""
    access, refresh = session_of(ann)
    match change:
        case "access":
            refresh = access
        case "nonsense":
            refresh = "nonsense"
        case "foreign":
            refresh = ann.new_token(token_type="refresh")
        case "expired":
            refresh = ann.new_token(token_type="refresh", exp=timezone.now() - dt.timedelta(seconds=1))
        case "revoked":
            tokens.revoke_token(jti=jti_of(refresh), expires_at=None)
        case "cut off":
            tokens.revoke_user(ann.user.pk)
        case "inactive":
            User.objects.filter(pk=ann.user.pk).update(is_active=False)
        case "deleted":
            ann.user.delete()
    status, answer = post("refresh/", {"refresh": refresh})
    assert (status, answer["code"]) == (401, code)


# Revoking.


def test_one_may_revoke_ones_own_token(ann: Person, news: list[Any]) -> None:
    """The token is refused from then on, the workers are told, and again is no error."""
    access, refresh = session_of(ann)
    other, _ = session_of(ann)
    for _ in range(2):
        assert post("revoke/", {"token": access}, bearer=other) == (200, {"revoked": jti_of(access)})
    assert news == [Revoked(jti=jti_of(access))] * 2
    assert refusal_of(access) is TokenRevoked
    assert refusal_of(other) is None
    assert post("refresh/", {"refresh": refresh})[0] == 200
    assert post("revoke/", {"token": other}, bearer=access)[1]["code"] == "TOKEN_REVOKED"


def test_a_token_may_revoke_itself(ann: Person) -> None:
    """That is logging out."""
    access, _ = session_of(ann)
    assert post("revoke/", {"token": access}, bearer=access)[0] == 200
    assert refusal_of(access) is TokenRevoked


def test_revoking_a_refresh_token_revokes_what_came_from_it(ann: Person) -> None:
    """The session ends, another goes on; the end of the revocation is that of the token."""
    access, refresh = session_of(ann)
    later = post("refresh/", {"refresh": refresh})[1]["access"]
    other, _ = session_of(ann)
    assert post("revoke/", {"token": refresh}, bearer=other) == (200, {"revoked": jti_of(refresh)})
    assert [refusal_of(token) for token in (access, later, other)] == [TokenRevoked, TokenRevoked, None]
    assert OutstandingToken.objects.get(jti=jti_of(refresh)).expires_at < timezone.now() + dt.timedelta(days=15)


def test_tokens_of_other_issuers_can_be_revoked(cast: Cast) -> None:
    """By their id, with their end, and without their text; an expired one too."""
    token, expired = cast.ann.new_token(), cast.ann.new_token(exp=timezone.now() - dt.timedelta(seconds=5))
    for each in (token, expired):
        assert post("revoke/", {"token": each}, bearer=cast.ann.token) == (200, {"revoked": jti_of(each)})
    assert refusal_of(token) is TokenRevoked
    assert refusal_of(cast.ann.token) is None
    row = OutstandingToken.objects.get(jti=jti_of(token))
    assert (row.token, row.user_id) == ("", cast.ann.user.pk)
    assert abs((row.expires_at - timezone.now()).total_seconds() - 3_600) < 60


def test_only_staff_may_revoke_the_tokens_of_others(cast: Cast) -> None:
    """Carl may, mallory may not; a user that is no more can be cleared away."""
    token, gone = cast.ann.new_token(), cast.ann.new_token(sub="987654321")
    status, answer = post("revoke/", {"token": token}, bearer=cast.mallory.token)
    assert (status, answer["code"]) == (403, "INSUFFICIENT_PERMISSIONS")
    assert refusal_of(token) is None
    for each in (token, gone):
        assert post("revoke/", {"token": each}, bearer=cast.carl.token)[0] == 200
    assert refusal_of(token) is TokenRevoked


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer nonsense", "Basic YTpi", "Token abc"])
def test_revoking_takes_a_bearer_token(cast: Cast, header: str | None) -> None:
    """Without one, or with a bad one, nothing is revoked."""
    headers = {} if header is None else {"Authorization": header}
    response = Client().post(
        "/api/token/revoke/", {"token": cast.ann.token}, content_type="application/json", headers=headers
    )
    assert response.status_code == 401
    assert response["WWW-Authenticate"].startswith("Bearer")
    assert refusal_of(cast.ann.token) is None


@pytest.mark.parametrize("body", [{}, {"token": "nonsense"}, {"token": 5}, {"token": "x" * 20_000}])
def test_what_is_no_token_cannot_be_revoked(cast: Cast, body: dict[str, Any]) -> None:
    """The bearer's own token is good, so this is no failed authentication."""
    status, answer = post("revoke/", body, bearer=cast.ann.token)
    assert (status, answer["code"], answer["field"]) == (400, "VALIDATION_ERROR", "token")


def test_nothing_secret_is_logged(ann: Person, caplog: pytest.LogCaptureFixture) -> None:
    """Neither passwords nor tokens, whether it goes well or not."""
    caplog.set_level("DEBUG")
    for _ in range(11):
        log_in(ann, "a wrong secret")
    access, refresh = post("", {"username": ann.name, "password": PASSWORD}, REMOTE_ADDR="192.0.2.1")[1].values()
    post("refresh/", {"refresh": refresh})
    post("refresh/", {"refresh": access})
    post("revoke/", {"token": refresh}, bearer=access)
    assert "too many failed logins" in caplog.text
    written = "\n".join(record.getMessage() for record in caplog.records if record.name != "django.db.backends")
    for secret in (PASSWORD, "a wrong secret", access, refresh, access.rpartition(".")[2], ann.user.password):
        assert secret not in written


# The services.


def test_a_cutoff_refuses_what_was_issued_until_now(cast: Cast, news: list[Any]) -> None:
    """Whole seconds are rounded down, so this second's are refused, the next second's are not; one without `iat` is."""
    before = int(time.time())
    old = [cast.ann.new_token(iat=before), cast.ann.new_token(iat=None), tokens.issue_access_token(cast.ann.user)]
    with transaction.atomic():
        cutoff = tokens.revoke_user(cast.ann.user.pk)
    assert news == [
        Revoked(user_id=cast.ann.id, issued_until=cutoff.timestamp(), reason="all tokens of the user were revoked")
    ]
    same_second = cast.ann.new_token(iat=int(cutoff.timestamp()))
    assert [refusal_of(token) for token in [*old, same_second]] == [TokenRevoked] * 4
    assert refusal_of(cast.ann.new_token(iat=int(cutoff.timestamp()) + 1)) is None


def test_a_login_right_after_a_cutoff_works(ann: Person) -> None:
    """Tokens of our own carry fractions of seconds by the clock that cutoffs go by."""
    old, _ = session_of(ann)
    tokens.revoke_user(ann.user.pk)
    time.sleep(0.002)  # SQLite's clock has milliseconds
    new, refresh = session_of(ann)
    assert (refusal_of(old), refusal_of(new)) == (TokenRevoked, None)
    assert post("refresh/", {"refresh": refresh})[0] == 200


def test_a_cutoff_never_moves_back(cast: Cast) -> None:
    """Of two at once the later one counts."""
    ahead = timezone.now() + dt.timedelta(minutes=5)
    TokenCutoff.objects.create(user=cast.ann.user, revoked_before=ahead)
    tokens.revoke_user(cast.ann.user.pk)
    assert TokenCutoff.objects.get(user=cast.ann.user).revoked_before == ahead


def test_a_revocation_is_kept_until_the_last_token_of_its_id_ends(cast: Cast) -> None:
    """An unknown end is never; a known one can only become later."""
    now = timezone.now().replace(microsecond=0)
    jti = f"shared-{cast.ann.name}"
    ends = [now + dt.timedelta(hours=hours) for hours in (2, 1, 3)]
    for expires_at in [*ends, None]:
        tokens.revoke_token(jti=jti, expires_at=expires_at, user_key=cast.ann.user.pk)
    assert OutstandingToken.objects.get(jti=jti).expires_at == ends[2]
    tokens.revoke_token(jti=f"unknown-{jti}", expires_at=None)
    assert OutstandingToken.objects.get(jti=f"unknown-{jti}").expires_at == tokens.NEVER


def test_a_revocation_carries_the_databases_time(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers look for what was revoked lately by that clock, whatever this process's says."""
    now = log.now()
    monkeypatch.setattr(timezone, "now", lambda: dt.datetime(2001, 1, 1, tzinfo=dt.UTC))
    tokens.revoke_token(jti=f"clock-{cast.ann.name}", expires_at=None)
    assert BlacklistedToken.objects.get(token__jti=f"clock-{cast.ann.name}").blacklisted_at >= now


def test_a_revocation_that_is_rolled_back_tells_nobody(cast: Cast, news: list[Any]) -> None:
    """Sessions close only for what has been committed."""
    with transaction.atomic():
        tokens.revoke_token(jti=jti_of(cast.ann.token), expires_at=None)
        tokens.revoke_user(cast.ann.user.pk)
        transaction.set_rollback(True)
    assert news == []
    assert refusal_of(cast.ann.token) is None


# Users.


def test_deactivating_a_user_anywhere_ends_their_sessions(cast: Cast, news: list[Any]) -> None:
    """Saving the row is enough, as Django admin does it."""
    cast.ann.user.is_active = False
    cast.ann.user.save()
    assert news == [Revoked(user_id=cast.ann.id, reason=DEACTIVATED)]
    assert refusal_of(cast.ann.token) is UserInactive


def test_saving_something_else_of_a_user_ends_nothing(cast: Cast, news: list[Any]) -> None:
    """An active user, another field and a new user are no news."""
    cast.ann.user.save()
    cast.ann.user.is_active = False
    cast.ann.user.save(update_fields=["last_login"])
    User.objects.create_user(f"{cast.ann.name}-new", is_active=False)
    assert news == []


def test_deleting_a_user_ends_their_sessions(cast: Cast, news: list[Any]) -> None:
    """As soon as it is committed."""
    user_id = cast.ann.id
    cast.ann.user.delete()
    assert news == [Revoked(user_id=user_id, reason=GONE)]


def test_a_renamed_user_is_shown_so_at_once(cast: Cast) -> None:
    """What this worker remembers of a user goes with the change, also when somebody looks before the commit."""
    key = cast.ann.user.pk
    assert profiles.profiles_of([key])[key].username == cast.ann.name
    stale = profiles.profiles_of([key])[key]
    with transaction.atomic():
        cast.ann.user.first_name = "Ann"
        cast.ann.user.save()
        profiles.remember(key, stale)  # another thread, which sees the old row
    assert profiles.profiles_of([key])[key].display_name == "Ann"


# The real server.


async def test_a_login_over_http_opens_a_session_that_revoking_closes(server: LiveServer, person: Person) -> None:
    """From the password to the goodbye."""
    pair = await asyncio.to_thread(_post, server, "", {"username": person.name, "password": PASSWORD})
    async with ChatClient(server.url, pair["access"]) as client:
        assert (await client.connect())["userId"] == person.id
        answer = await asyncio.to_thread(_post, server, "revoke/", {"token": pair["refresh"]}, pair["access"])
        assert answer == {"revoked": jti_of(pair["refresh"])}
        assert (await client.next(type="session_revoked"))["reason"] == "the token was revoked"
        assert (await client.next(type="goodbye"))["code"] == 4403


def _post(server: LiveServer, path: str, body: dict[str, str], bearer: str | None = None) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {bearer}"} if bearer else {})
    request = Request(f"{server.http_url}/api/token/{path}", json.dumps(body).encode(), headers)
    with urlopen(request, timeout=10) as response:
        answer: dict[str, Any] = json.load(response)
        return answer
