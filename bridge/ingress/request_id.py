"""One id for each callback, in every log line that it causes, up to the subscribers'.

The id is new for each callback, or comes from the `X-Request-Id` of a trusted proxy. It is not
part of an event: what is delivered long after, or by another process, has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from bridge.adapter.signing import Network, client_address
from bridge.delivery.attempt import callback_id
from bridge.delivery.attempt import request_id as _current
from bridge.process.lazy import later

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Handler, Middleware
else:
    web = later("aiohttp.web")

HEADER: Final = "X-Request-Id"
RECENT: Final = 4096
"""The number of events whose callback's id is remembered."""

_LONGEST: Final = 64
_PUNCTUATION: Final = frozenset("-_.:")


def current() -> str | None:
    """Return the id of the callback that is being taken, or whose event is being delivered."""
    request_id = callback_id()
    # Its first letter keeps an id that has digits only from being taken for a phone.
    return f"r{request_id:010x}" if isinstance(request_id, int) else request_id


def use(request_id: str | None) -> None:
    """Set the id of this context from now on; with None, the next callback gets one of its own."""
    _current.set(request_id)


@contextmanager
def using(request_id: str | None) -> Iterator[None]:
    """Set the id within the block; for programs that take requests themselves.

    With None, a callback in the block gets an id of its own.
    """
    token = _current.set(request_id)
    try:
        yield
    finally:
        _current.reset(token)


def forget_older(recent: dict[str, Any]) -> None:
    """Forget the older half of `RECENT` keys; forgetting them one by one would cost more."""
    for key in tuple(islice(recent, RECENT // 2)):
        del recent[key]


def middleware(trusted: tuple[Network, ...]) -> Middleware:
    """Return an aiohttp middleware that takes the `X-Request-Id` of these proxies."""

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
    """Return the header's only value where it is short and safe in a log."""
    if len(values) != 1 or not 0 < len(values[0]) <= _LONGEST:
        return None
    (value,) = values
    plain = all(char in _PUNCTUATION or (char.isascii() and char.isalnum()) for char in value)
    return value if plain else None


def _is_within(address: IPv4Address | IPv6Address | None, networks: tuple[Network, ...]) -> bool:
    return address is not None and any(address in network for network in networks)
