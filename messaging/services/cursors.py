"""Opaque cursors: where a page of a list ended, by the values that the list is ordered by.

They survive whatever happens to the list meanwhile, and may be forged: nothing is shown because of one that would not
be shown without it.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec

from messaging.protocol.errors import ValidationFailed


def moment(text: str) -> dt.datetime:
    """Return a time in a cursor, for `open_cursor`."""
    return dt.datetime.fromisoformat(text).astimezone(dt.UTC)


def cursor_of(*place: dt.datetime | UUID | int | str) -> str:
    """Return the cursor of a place in a list."""
    texts = [each.isoformat() if isinstance(each, dt.datetime) else str(each) for each in place]
    return base64.urlsafe_b64encode(msgspec.json.encode(texts)).decode()


def open_cursor(cursor: str, *kinds: Callable[[str], Any]) -> list[Any]:
    """Return the place that a cursor stands for.

    Args:
        cursor: as `cursor_of` made it.
        kinds: what makes each value of its text.

    Raises:
        ValidationFailed: it is none of ours.

    """
    try:
        texts = msgspec.json.decode(base64.urlsafe_b64decode(cursor), type=list[str])
        return [kind(text) for kind, text in zip(kinds, texts, strict=True)]
    except (binascii.Error, msgspec.DecodeError, ValueError, OverflowError) as error:
        raise ValidationFailed("before has to be the nextCursor of another page", field="before") from error
