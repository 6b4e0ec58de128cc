"""The token API: logging in, refreshing and revoking, for users of this server's own database.

Errors have the words and codes of the protocol's error frames: {"type": "error", "code": …, "message": …}.
"""

from __future__ import annotations

import logging
import math
import uuid
from typing import Any

import msgspec
from asgiref.sync import async_to_sync
from django.conf import settings
from django.contrib.auth import authenticate, get_user_model
from django.db import DatabaseError, transaction
from django.http import HttpRequest
from msgspec import UNSET
from rest_framework import exceptions, serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from messaging.delivery.doors import is_outage, write_lock
from messaging.errors import InsufficientPermissions
from messaging.gateway import logins
from messaging.gateway.addresses import client_address, networks
from messaging.gateway.tokens import TOKEN_MAX_CHARACTERS, Claims, check_refresh_token, check_token, read_token
from messaging.protocol.errors import (
    AuthError,
    ChatError,
    ErrorFrame,
    InternalError,
    InvalidJson,
    RateLimited,
    ServerBusy,
    TokenInvalid,
    ValidationFailed,
)
from messaging.services import tokens

logger = logging.getLogger(__name__)
_STATUS: dict[type[ChatError], int] = {
    ValidationFailed: 400,
    InvalidJson: 400,
    AuthError: 401,
    InsufficientPermissions: 403,
    RateLimited: 429,
    InternalError: 500,
    ServerBusy: 503,
}


class LoginRequest(serializers.Serializer[Any]):
    """A user name and its password."""

    username = serializers.CharField(max_length=255, trim_whitespace=False)
    password = serializers.CharField(max_length=4_096, trim_whitespace=False)


class RefreshRequest(serializers.Serializer[Any]):
    """A refresh token of our own."""

    refresh = serializers.CharField(max_length=TOKEN_MAX_CHARACTERS)


class RevokeRequest(serializers.Serializer[Any]):
    """Any token: access or refresh, our own or another issuer's."""

    token = serializers.CharField(max_length=TOKEN_MAX_CHARACTERS)


class TokenView(APIView):
    """What the three paths share: open to everyone, answers that no cache keeps, errors as on the socket."""

    permission_classes = (AllowAny,)

    def handle_exception(self, exc: Exception) -> Response:
        """Answer whatever was raised, in the form of an error frame."""
        if not _is_of_http(exc):
            return _answer(_as_chat_error(exc))
        response = super().handle_exception(exc)
        code = str(getattr(exc, "default_code", "error")).upper()
        response.data = {"type": "error", "code": code, "message": str(getattr(exc, "detail", exc))}
        return response

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Keep tokens out of caches (RFC 6749 section 5.1)."""
        response["Cache-Control"] = "no-store"
        return super().finalize_response(request, response, *args, **kwargs)


class ObtainToken(TokenView):
    """POST /api/token/: a user name and password for an access and a refresh token."""

    def post(self, request: Request) -> Response:
        """Log a user in; a wrong name takes as long as a wrong password."""
        login = _validated(LoginRequest, request)
        slot = logins.take_slot(_address(request), login["username"])
        name_field = get_user_model().USERNAME_FIELD
        user = authenticate(request._request, **{name_field: login["username"]}, password=login["password"])  # noqa: SLF001
        if user is None or not user.is_active:
            raise AuthError("no active user has this name and password")
        slot.give_back()
        with write_lock(), transaction.atomic():
            pair = tokens.issue_token_pair(user)
        return Response(pair._asdict())


class RefreshToken(TokenView):
    """POST /api/token/refresh/: a refresh token for a new access token."""

    def post(self, request: Request) -> Response:
        """Go on with a session that nobody has revoked."""
        claims = async_to_sync(check_refresh_token)(_validated(RefreshRequest, request)["refresh"])
        return Response({"access": tokens.refresh_access_token(claims)})


class RevokeToken(TokenView):
    """POST /api/token/revoke/: ends a token and the live sessions that it opened."""

    def post(self, request: Request) -> Response:
        """Revoke a token of the bearer's own or, for staff, of anybody."""
        caller = _bearer(request)
        try:
            token = async_to_sync(read_token)(_validated(RevokeRequest, request)["token"])
        except TokenInvalid as error:  # the bearer's own is good: 401 would send them to log in again
            raise ValidationFailed(error.details, field="token") from None
        with write_lock(), transaction.atomic():
            tokens.revoke_presented(caller, token)
        return Response({"revoked": token.jti})


def _bearer(request: Request) -> Claims:
    scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() != "bearer":
        raise AuthError("send a token of your own as `Authorization: Bearer …`")
    return async_to_sync(check_token)(token.strip())


def _address(request: HttpRequest | Request) -> str:
    trusted = networks(tuple(settings.TRUSTED_PROXIES))
    return client_address(request.META.get("REMOTE_ADDR", ""), request.META.get("HTTP_X_FORWARDED_FOR"), trusted)


def _validated(schema: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    """Return the fields of a request.

    Raises:
        ValidationFailed: one is missing or wrong; it is named.

    """
    form = schema(data=request.data)
    if form.is_valid():
        return dict(form.validated_data)
    field, problems = next(iter(form.errors.items()))
    is_of_field = field in form.fields
    raise ValidationFailed(str(problems[0]), field=str(field) if is_of_field else UNSET)


def _is_of_http(exc: Exception) -> bool:
    """Whether this is about the HTTP request itself: its method, say, or its content type."""
    return isinstance(exc, exceptions.APIException) and not isinstance(exc, exceptions.ParseError)


def _as_chat_error(exc: Exception) -> ChatError:
    if isinstance(exc, ChatError):
        return exc
    if isinstance(exc, exceptions.ParseError):
        return InvalidJson(str(exc.detail))
    if isinstance(exc, DatabaseError) and is_outage(exc):
        return ServerBusy("the database does not answer")
    error_id = str(uuid.uuid4())
    logger.error("a token request failed (errorId %s)", error_id, exc_info=exc)
    return InternalError(error_id=error_id)


def _answer(error: ChatError) -> Response:
    """Return the HTTP answer that says what an error frame would."""
    frame = ErrorFrame(
        code=error.code,
        message=error.message,
        details=error.details,
        field=error.field,
        retry_after=error.retry_after,
        error_id=error.error_id,
    )
    status = next(status for kind, status in _STATUS.items() if isinstance(error, kind))
    response = Response(msgspec.to_builtins(frame), status=status)
    if isinstance(error, AuthError):
        response["WWW-Authenticate"] = 'Bearer realm="api"'
    if error.retry_after is not UNSET:
        response["Retry-After"] = str(math.ceil(error.retry_after))
    return response
