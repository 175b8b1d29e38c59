"""One id for all that a callback gives rise to: in every log line, up to the subscribers'.

The id is made anew for each callback, or taken from `X-Request-Id` where a trusted proxy says
it. It is no part of an event: what was delivered long after, or by another process, has none.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from bridge.adapter.signing import Network, client_address
from bridge.delivery.attempt import request_id as _current
from bridge.lazy import later
from bridge.model import Event

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Handler, Middleware
else:
    web = later("aiohttp.web")

T = TypeVar("T")

HEADER: Final = "X-Request-Id"

_LONGEST: Final = 64
_PUNCTUATION: Final = frozenset("-_.:")
_BITS: Final = 40  # of a number that `current` writes out
_KEPT: Final = 2048  # events, and as many again before they are forgotten

# Only to tell requests apart; the system's own randomness takes longer than all of the rest.
_new_number: Final = random.Random().getrandbits  # noqa: S311


def current() -> str | None:
    """Return the id of the callback that is being taken, or whose event is being delivered."""
    request_id = _current.get()
    # Its first letter keeps an id that has digits only from being taken for a phone.
    return f"r{request_id:010x}" if isinstance(request_id, int) else request_id


@contextmanager
def using(request_id: str | None) -> Iterator[None]:
    """Call what happens in the block by this id; for those who take requests themselves.

    With None, a callback in the block gets an id of its own.
    """
    token = _current.set(request_id)
    try:
        yield
    finally:
        _current.reset(token)


class _Ending:
    """The block of a request whose id ends with it: what a task does next is another request."""

    __slots__ = ()

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, *_: object) -> None:
        """Forget the id."""
        _current.set(None)


_ENDING: Final = _Ending()
_NAMED: Final = nullcontext()


def ensured() -> AbstractContextManager[None]:
    """Return a block for a request, which gets an id of its own unless it has one by now."""
    if _current.get() is not None:
        return _NAMED
    _current.set(_new_number(_BITS))
    return _ENDING


class RecentKeys(Generic[T]):
    """A bounded map from the keys of recent events; the first value of a key stays for a while.

    Two dictionaries take turns, since removing the oldest of one by one costs more than all else.
    """

    __slots__ = ("_latest", "_older")

    def __init__(self) -> None:
        self._latest: dict[str, T] = {}
        self._older: dict[str, T] = {}

    def __len__(self) -> int:
        """Return how many keys have a value."""
        return len(self._latest) + len(self._older)

    def add(self, events: Sequence[Event], value: T) -> None:
        """Give these events a value, as far as they have none."""
        latest = self._latest
        for event in events:
            latest.setdefault(event.key, value)
        if len(latest) >= _KEPT:
            self._older, self._latest = latest, {}

    def get(self, event: Event) -> T | None:
        """Return the value of an event, or None."""
        key = event.key
        value = self._latest.get(key)
        return self._older.get(key) if value is None else value


def middleware(trusted: tuple[Network, ...]) -> Middleware:
    """Return an aiohttp middleware that believes these proxies' `X-Request-Id`."""

    @web.middleware
    async def name(request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id = told_by_proxy(request, trusted)
        if request_id is None:
            return await handler(request)
        with using(request_id):
            return await handler(request)

    return name


def told_by_proxy(request: web.BaseRequest, trusted: tuple[Network, ...]) -> str | None:
    """Return the `X-Request-Id` of a request that comes from one of these proxies."""
    return told_by(request.remote, request.headers.getall(HEADER, ()), trusted)


def told_by(peer: str | None, values: Sequence[str], trusted: tuple[Network, ...]) -> str | None:
    """Return the only `X-Request-Id` of all that a peer sent, if it is one of these proxies."""
    if not trusted:
        return None
    request_id = _sane(values)
    if request_id is None or not _is_within(client_address(peer, (), ()), trusted):
        return None
    return request_id


def _sane(values: Sequence[str]) -> str | None:
    """Return the header's only value where it is short and can do no harm in a log."""
    if len(values) != 1 or not 0 < len(values[0]) <= _LONGEST:
        return None
    (value,) = values
    plain = all(char in _PUNCTUATION or (char.isascii() and char.isalnum()) for char in value)
    return value if plain else None


def _is_within(address: IPv4Address | IPv6Address | None, networks: tuple[Network, ...]) -> bool:
    return address is not None and any(address in network for network in networks)
