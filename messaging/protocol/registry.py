"""Which method answers which request type.

A consumer's method says `@handles(Schema)`; `routes(consumer, …)` collects them into the table that the gateway looks
requests up in. Two methods for one type fail when the table is made, which is when the server starts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import msgspec

Handler = Callable[[Any, Any], Awaitable[msgspec.Struct | None]]  # (caller, request) → reply
HandlerMethod = TypeVar("HandlerMethod", bound=Callable[..., Awaitable[msgspec.Struct | None]])
_MARK = "answers_request"


class Request(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A request of a client: camelCase on the wire, snake_case here, unknown fields ignored and named in the reply."""

    wire_types: ClassVar[tuple[str, ...]] = ()  # the type on the wire, then its aliases


@dataclass(frozen=True, slots=True)
class Route:
    """How one request type is decoded and who answers it."""

    wire_type: str  # the main name; aliases share the route
    decoder: msgspec.json.Decoder[Request]
    fields: frozenset[str]  # as spelled on the wire, with `type` and `requestId`
    handler: Handler
    needs_user: bool  # refused with AUTH_REQUIRED before `connect` has succeeded
    is_pipelined: bool  # several of one connection may be under way at once


@dataclass(frozen=True, slots=True)
class _Mark:
    schema: type[Request]
    needs_user: bool
    is_pipelined: bool


Routes = dict[str, Route]


def handles(
    schema: type[Request],
    *,
    needs_user: bool = True,
    is_pipelined: bool = False,
) -> Callable[[HandlerMethod], HandlerMethod]:
    """Mark a consumer's method as the answer to requests of `schema`.

    Args:
        schema: the request; its `wire_types` name it.
        needs_user: whether it is served only after `connect`.
        is_pipelined: whether the next request may start before this one has been answered. Everything else takes
            effect in the order a client sent it.

    """

    def mark(method: HandlerMethod) -> HandlerMethod:
        setattr(method, _MARK, _Mark(schema, needs_user, is_pipelined))
        return method

    return mark


def routes(*consumers: object) -> Routes:
    """Return the table of every marked method of these consumers, by wire type.

    Raises:
        TypeError: two methods answer one request type.

    """
    table: Routes = {}
    for consumer in consumers:
        for name in dir(type(consumer)):
            method = getattr(consumer, name)
            if (mark := getattr(method, _MARK, None)) is not None:
                _add(table, mark, method)
    return table


def _add(table: Routes, mark: _Mark, handler: Handler) -> None:
    fields = frozenset(field.encode_name for field in msgspec.structs.fields(mark.schema))
    route = Route(
        wire_type=mark.schema.wire_types[0],
        decoder=msgspec.json.Decoder(mark.schema),
        fields=fields | {"type", "requestId"},
        handler=handler,
        needs_user=mark.needs_user,
        is_pipelined=mark.is_pipelined,
    )
    for wire_type in mark.schema.wire_types:
        if wire_type in table:
            raise TypeError(f"two methods answer {wire_type}")
        table[wire_type] = route
