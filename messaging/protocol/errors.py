"""Why a request is refused, as one tree of exceptions.

ChatError
├── InvalidJson, UnsupportedFormat, ValidationFailed, UnknownType   the frame itself is wrong
├── AuthRequired, RateLimited, ServerBusy, InternalError            the connection or the server is in the way
├── AuthError                                                       answered as `auth_error`: TOKEN_INVALID and the rest
└── the refusals of each app, in its `errors.py`

The docstring of a class is the message that clients see; a second class with the same code fails at import.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
from msgspec import UNSET, UnsetType

_classes_by_code: dict[str, type[ChatError]] = {}


class ErrorFrame(msgspec.Struct, frozen=True, rename="camel", tag="error", tag_field="type"):
    """One refused request, as its client sees it."""

    code: str
    message: str
    details: str | UnsetType = UNSET
    field: str | UnsetType = UNSET
    request_type: str | UnsetType = UNSET
    request_id: str | UnsetType = UNSET
    retry_after: float | UnsetType = UNSET  # seconds
    error_id: str | UnsetType = UNSET


class AuthErrorFrame(msgspec.Struct, frozen=True, rename="camel", tag="auth_error", tag_field="type"):
    """One failed authentication, as its client sees it."""

    code: str
    message: str
    request_id: str | UnsetType = UNSET


class ChatError(Exception):
    """The request was refused."""

    code: ClassVar[str]
    message: ClassVar[str]

    def __init_subclass__(cls, *, code: str, **kwargs: Any) -> None:
        """Register the class under its code; the docstring's first line becomes the message."""
        super().__init_subclass__(**kwargs)
        if code in _classes_by_code:
            raise TypeError(f"{cls.__name__} and {_classes_by_code[code].__name__} both have the code {code}")
        _classes_by_code[code] = cls
        cls.code = code
        cls.message = (cls.__doc__ or "").partition("\n")[0]

    def __init__(
        self,
        details: str | UnsetType = UNSET,
        *,
        field: str | UnsetType = UNSET,
        retry_after: float | UnsetType = UNSET,
        error_id: str | UnsetType = UNSET,
    ) -> None:
        """Refuse a request.

        Args:
            details: what exactly is wrong, for the client's developer; never anything of another user.
            field: the request's field at fault, as it is spelled on the wire.
            retry_after: seconds after which the same request may pass.
            error_id: the id under which the server's log tells the rest.

        """
        super().__init__(details)
        self.details = details
        self.field = field
        self.retry_after = retry_after
        self.error_id = error_id

    def frame(self, *, request_type: str | UnsetType = UNSET, request_id: str | UnsetType = UNSET) -> msgspec.Struct:
        """Return what is sent to the client whose request this refuses."""
        return ErrorFrame(
            code=self.code,
            message=self.message,
            details=self.details,
            field=self.field,
            request_type=request_type,
            request_id=request_id,
            retry_after=self.retry_after,
            error_id=self.error_id,
        )


class InvalidJson(ChatError, code="INVALID_JSON"):
    """The frame is not valid JSON."""


class UnsupportedFormat(ChatError, code="UNSUPPORTED_FORMAT"):
    """Binary frames are not supported; send JSON in text frames."""


class ValidationFailed(ChatError, code="VALIDATION_ERROR"):
    """The request is not valid."""


class UnknownType(ChatError, code="UNKNOWN_TYPE"):
    """There is no request of this type."""


class AuthRequired(ChatError, code="AUTH_REQUIRED"):
    """Authenticate with `connect` first."""


class RateLimited(ChatError, code="RATE_LIMITED"):
    """Too many requests; slow down."""


class ServerBusy(ChatError, code="SERVER_BUSY"):
    """The server cannot take this request now; try it again shortly."""

    def __init__(self, details: str | UnsetType = UNSET, *, retry_after: float = 1.0) -> None:
        """Refuse a request that may pass after `retry_after` seconds."""
        super().__init__(details, retry_after=retry_after)


class InternalError(ChatError, code="INTERNAL_ERROR"):
    """Something went wrong on the server."""


class AuthError(ChatError, code="AUTH_FAILED"):
    """The authentication failed."""

    def frame(self, *, request_type: str | UnsetType = UNSET, request_id: str | UnsetType = UNSET) -> msgspec.Struct:
        """Return the `auth_error` that answers a failed `connect`."""
        del request_type  # it can only have been a connect
        return AuthErrorFrame(code=self.code, message=self.message, request_id=request_id)


class TokenInvalid(AuthError, code="TOKEN_INVALID"):
    """The token is not valid."""


class TokenExpired(AuthError, code="TOKEN_EXPIRED"):
    """The token has expired."""


class TokenRevoked(AuthError, code="TOKEN_REVOKED"):
    """The token has been revoked."""


class UserInactive(AuthError, code="USER_INACTIVE"):
    """The user of this token is deactivated."""


class UserNotFound(AuthError, code="USER_NOT_FOUND"):
    """The user of this token does not exist."""
