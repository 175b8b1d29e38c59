"""What a subscriber remembers of a conversation from one event to the next."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, Final, TypeAlias, final
from weakref import WeakValueDictionary

import orjson

from bridge.delivery.attempt import turn
from bridge.errors import CodecError, ConfigurationError
from bridge.journal.protocol import Journal
from bridge.journal.states import State
from bridge.process.clock import Clock
from bridge.settings import seconds

Remembered: TypeAlias = dict[str, Any]
"""A JSON object."""

TIME_TO_LIVE: Final = "30d"
MAX_SIZE: Final = 64 << 10
_LONGEST_NAME: Final = 100
_open: Final[ContextVar[frozenset[asyncio.Lock]]] = ContextVar("states", default=frozenset())
_PLAIN: Final = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME


@final
class States:
    """Reads and writes states, each by one caller at a time."""

    def __init__(self, journal: Callable[[], Journal], clock: Callable[[], Clock]) -> None:
        self._journal = journal
        self._clock = clock
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def opened(
        self, conversation: str, name: str | None, ttl: float | str
    ) -> AsyncIterator[Remembered]:
        """See `Bridge.state`."""
        name = _checked_name(name)
        lifetime = _checked_lifetime(ttl)
        lock = self._locks.setdefault((conversation, name), asyncio.Lock())
        if lock in (outer := _open.get()):  # it would wait for itself
            raise ConfigurationError(f"the state {name!r} of {conversation} is open here already")
        async with lock:
            _open.set(outer | {lock})
            try:
                async with self._kept(conversation, name, lifetime) as remembered:
                    yield remembered
            finally:
                _open.set(outer)

    @asynccontextmanager
    async def _kept(
        self, conversation: str, name: str, lifetime: float
    ) -> AsyncIterator[Remembered]:
        journal, clock = self._journal(), self._clock()
        found = await journal.read_state(conversation, name)
        before = b"{}"
        if found is not None and found.expires_at > clock.time():
            before = found.value
        remembered: Remembered = orjson.loads(before)
        yield remembered
        value = _written(remembered)
        if not remembered and found is not None:
            await journal.erase_state(conversation, name)
        elif value != before:
            expires_at = clock.time() + lifetime
            await journal.write_state(
                State(conversation=conversation, name=name, value=value, expires_at=expires_at)
            )


def _checked_name(name: str | None) -> str:
    if name is None:
        under_way = turn.get()
        if under_way is None:
            raise ConfigurationError("outside a subscriber, a state needs a name")
        return under_way.subscriber
    if not name or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise ConfigurationError(
            f"name: expected 1 to {_LONGEST_NAME} printable characters, found {name!r}"
        )
    return name


def _checked_lifetime(ttl: float | str) -> float:
    found = seconds(ttl) if isinstance(ttl, str) else ttl
    if found is None or not 1 <= found < float("inf"):
        raise ConfigurationError(
            f"ttl: expected seconds, at least 1, or a duration such as '30d', found {ttl!r}"
        )
    return found


def _written(remembered: Remembered) -> bytes:
    """Return the JSON of a state. Raises `CodecError`."""
    try:
        value = orjson.dumps(remembered, option=_PLAIN)
    except TypeError as error:
        raise CodecError(f"a state has to be JSON: {error}") from error
    if b"null" in value and (where := _not_finite(remembered)):  # they would be read back as null
        raise CodecError(f"a state has to be JSON, which has neither nan nor infinity: see {where}")
    if len(value) > MAX_SIZE:
        raise CodecError(f"a state of {len(value)} bytes of JSON: at most {MAX_SIZE} are kept")
    return value


def _not_finite(value: object, where: str = "state") -> str | None:
    """Return where a number is none that JSON has, or None."""
    if isinstance(value, float):
        return None if math.isfinite(value) else where
    if not isinstance(value, dict | list | tuple):
        return None
    inside: Iterable[tuple[object, object]] = (
        value.items() if isinstance(value, dict) else enumerate(value)
    )
    return next(
        filter(None, (_not_finite(each, f"{where}[{key!r}]") for key, each in inside)), None
    )
