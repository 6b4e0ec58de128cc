"""Who is behind a connection: the welcome, `connect`, renewal, failed attempts and the end of the token."""

from __future__ import annotations

import datetime as dt
import logging
import time
from typing import TYPE_CHECKING

from msgspec import UNSET, UnsetType

from messaging.delivery.caller import Caller, Identity
from messaging.delivery.news import Revoked
from messaging.delivery.replay import Outcome, Target, attach
from messaging.errors import Conflict
from messaging.gateway.tokens import Claims, check_token
from messaging.protocol.close_codes import CloseCode
from messaging.protocol.errors import AuthError, ServerBusy, TokenExpired, ValidationFailed
from messaging.schemas.sessions import AuthSuccess, Connect, Connected, SyncComplete, TokenExpiring
from messaging.schemas.wire import wire_now, wire_time
from messaging.services import sessions

if TYPE_CHECKING:
    from messaging.gateway.connection import Connection

logger = logging.getLogger(__name__)
PROTOCOL_VERSION = 1
HEARTBEAT_SECONDS = 30
FAILURES_MAX = 3
EXPIRING_SECONDS = 60  # before the end of a token


class Authentication:
    """The token of one connection, and whose it is."""

    __slots__ = ("_connection", "_failures", "_handshake_token", "_was_told", "claims")

    def __init__(self, connection: Connection) -> None:
        """Begin without a token."""
        self._connection = connection
        self._failures = 0
        self._handshake_token: str | None = None  # a good one that came with the handshake
        self._was_told = False  # that the token is about to expire
        self.claims: Claims | None = None  # of the token that is being checked or was accepted

    @property
    def user_id(self) -> str:
        """Whose connection it is, or is about to be."""
        return "" if self.claims is None else self.claims.user_id

    async def welcome(self, token: str | None) -> None:
        """Greet the client, and tell it at once what is wrong with the token of its handshake."""
        refusal: AuthError | None = None
        if token is not None:
            try:
                claims = await check_token(token)
                found = (await self._connection.worker.reading(sessions.identify, [claims]))[0]
                refusal = found if isinstance(found, AuthError) else None
            except AuthError as error:
                refusal = error
            except ServerBusy:
                logger.info("a handshake's token could not be looked up; `connect` tries again")
            self._handshake_token = token if refusal is None else None
        self._connection.send(
            Connected(
                client_id=self._connection.client_id,
                requires_auth=self._handshake_token is None,
                protocol_version=PROTOCOL_VERSION,
                heartbeat_interval=HEARTBEAT_SECONDS,
                timestamp=wire_now(),
            )
        )
        if refusal is not None:
            self._connection.send(refusal.frame())
            self.failed(refusal)

    async def connect(self, caller: Caller, request: Connect) -> None:
        """Answer `connect`: let the user in, or renew the token of the one who is in."""
        token = request.token or self._handshake_token
        if token is None:
            raise ValidationFailed("there is no token, neither here nor in the handshake", field="token")
        claims = await check_token(token)
        if self._connection.user is None:
            await self._enter(caller, request, claims)
        else:
            await self._renew(caller, request, claims)

    def failed(self, refusal: AuthError) -> None:
        """Count a failed attempt; the third is the last."""
        self._failures += 1
        if self._failures >= FAILURES_MAX:
            self._connection.close(CloseCode.NOT_AUTHENTICATED, refusal.message)

    def is_meant(self, revoked: Revoked) -> bool:
        """Return whether a revocation ends this session."""
        claims = self.claims
        if claims is None:
            return False
        if revoked.jti is not None:
            return revoked.jti in (claims.jti, claims.session_jti)
        if revoked.user_id != claims.user_id:
            return False
        return revoked.issued_until is None or claims.issued_at is None or claims.issued_at <= revoked.issued_until

    def check_expiry(self) -> float:
        """Act on the token's end if it is near; return in how many seconds to look again."""
        if self.claims is None or self._connection.user is None:
            return float("inf")
        remaining = self.claims.expires_at - time.time()
        if remaining <= 0:
            self._connection.close(CloseCode.NOT_AUTHENTICATED, TokenExpired.message)
        elif remaining <= EXPIRING_SECONDS and not self._was_told:
            self._was_told = True
            self._connection.send(TokenExpiring(expires_at=_wire_moment(self.claims.expires_at)))
        return remaining if self._was_told else remaining - EXPIRING_SECONDS

    async def _enter(self, caller: Caller, request: Connect, claims: Claims) -> None:
        connection = self._connection
        self.claims = claims  # from here on revocations and joinings of this user reach us
        connection.worker.hub.enter(connection)
        try:
            admission = await connection.worker.admit(claims)
        except BaseException:
            self._forget()
            raise
        if connection.is_closing:
            self._forget()
            return
        connection.is_acknowledging = request.ack
        connection.worker.presence.entered(connection.client_id, claims.user_id, connection.address)
        self._accept(admission.user, caller)
        targets = [
            attach(connection.worker.hub, connection, each, (request.resume or {}).get(each.conversation_id))
            for each in admission.memberships
        ]
        connection.look_for_missed_joinings()
        self.replay([target for target in targets if target is not None])

    def _forget(self) -> None:
        self._connection.worker.hub.leave(self._connection)
        self.claims = None

    async def _renew(self, caller: Caller, request: Connect, claims: Claims) -> None:
        if claims.user_id != self.user_id:
            raise Conflict("this connection belongs to another user", field="token")
        found = (await self._connection.worker.reading(sessions.identify, [claims]))[0]
        if isinstance(found, AuthError):
            raise found
        self.claims = claims
        self._connection.is_acknowledging = request.ack or self._connection.is_acknowledging
        self._accept(found, caller)
        if request.resume is not None:
            await self._connection.sync(request.resume)

    def _accept(self, user: Identity, caller: Caller) -> None:
        connection, claims = self._connection, self.claims
        assert claims is not None  # noqa: S101 — for the type checker
        connection.user = user
        self._failures = 0
        self._was_told = False
        profile = user.profile
        success = AuthSuccess(
            user_id=user.user_id,
            username=profile.username or "",
            display_name=profile.display_name or "",
            profile_image=profile.profile_image,
            expires_at=_wire_moment(claims.expires_at),
        )
        connection.send(success, caller.request_id, caller.ignored)
        connection.timers.reset()

    def replay(self, targets: list[Target], request_id: str | UnsetType = UNSET) -> None:
        """Replay what was missed, then say so."""

        def done(outcome: Outcome) -> None:
            complete = SyncComplete(
                delivered=outcome.delivered, has_more=bool(outcome.incomplete), incomplete=outcome.incomplete
            )
            self._connection.send(complete, request_id)

        self._connection.replays().replay(targets, done)


def _wire_moment(seconds: float) -> str:
    """Return a moment of a token on the wire; one beyond the calendar is its last."""
    try:
        return wire_time(dt.datetime.fromtimestamp(seconds, dt.UTC))
    except (OverflowError, ValueError, OSError):
        return wire_time(dt.datetime.max.replace(tzinfo=dt.UTC))
