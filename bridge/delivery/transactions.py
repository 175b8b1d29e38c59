"""Subscribers whose effects and progress commit together, in the journal's own database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from bridge.delivery.attempt import turn
from bridge.errors import ConfigurationError
from bridge.journal.protocol import Cursor, TransactionalCursor
from bridge.model import Event


def in_transaction(
    name: str, function: Callable[..., Any], cursor: Cursor
) -> Callable[[Event], Awaitable[None]]:
    """Return a function that gives an event and a connection to a subscriber's, at most once.

    Raises `ConfigurationError` where the journal has no transactions to offer.
    """
    if not isinstance(cursor, TransactionalCursor):
        raise ConfigurationError(
            f'subscriber {name!r}: transaction=True needs engine = "postgres" in [journal]'
        )

    @wraps(function)
    async def take(event: Event) -> None:
        under_way = turn.get()
        assert under_way is not None  # noqa: S101 - delivery calls this
        async with cursor.transaction(under_way.entry) as connection:
            if connection is not None:
                await function(event, connection)

    return take
