"""What an adapter is: bytes and headers in, events and a reply out, no I/O in between.

The types enforce the order: `parse` takes only what `verify` returned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final, Protocol, TypeAlias, final, runtime_checkable

import attrs
from multidict import CIMultiDict, CIMultiDictProxy, MultiDict, MultiDictProxy

from bridge.errors import MalformedBody
from bridge.model import Event, JsonValue
from bridge.model.frozen import quick_init

Pairs: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]

_NO_HEADERS: Final[CIMultiDictProxy[str]] = CIMultiDictProxy(CIMultiDict())
_NO_QUERY: Final[MultiDictProxy[str]] = MultiDictProxy(MultiDict())


def _headers(value: Pairs) -> CIMultiDictProxy[str]:
    if isinstance(value, CIMultiDictProxy):
        return value
    return CIMultiDictProxy(CIMultiDict(value))


def _query(value: Pairs) -> MultiDictProxy[str]:
    if isinstance(value, MultiDictProxy):
        return value
    return MultiDictProxy(MultiDict(value))


@final
@attrs.frozen(kw_only=True, weakref_slot=False)
class Callback:
    """One request of a provider, as it came; nothing about it has been proved yet.

    `tail` is what the path holds below the adapter's own, without slashes at either end.
    `client` is who sent it, a trusted proxy taken into account; None where that is not known.
    Headers are looked up without regard to case; both they and the query may repeat a name.
    """

    body: bytes = attrs.field(repr=False)
    received_at: datetime
    method: str = "POST"
    tail: str = attrs.field(default="", repr=False)
    headers: CIMultiDictProxy[str] = attrs.field(
        default=_NO_HEADERS, converter=_headers, repr=False
    )
    query: MultiDictProxy[str] = attrs.field(default=_NO_QUERY, converter=_query, repr=False)
    client: IPv4Address | IPv6Address | None = None


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Verified:
    """What a callback proved to be authentic: `payload` is exactly the bytes that are trusted."""

    payload: bytes = attrs.field(repr=False)
    received_at: datetime
    callback: Callback | None = None


@attrs.frozen(kw_only=True)
class Response:
    """An HTTP response: what a provider is answered."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = attrs.field(factory=dict)


ACKNOWLEDGED = Response()
"""The answer to a callback that has been made durable: 200 and nothing else."""


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Parsed:
    """The events of a callback and the response it asks for.

    `malformed` is set where the body is not JSON at all: then nothing is published.
    """

    events: tuple[Event, ...] = ()
    response: Response = ACKNOWLEDGED
    malformed: MalformedBody | None = None


@runtime_checkable
class Adapter(Protocol):
    """Translates one provider's callbacks; pure, and safe to share between tasks."""

    @property
    def methods(self) -> frozenset[str]:
        """The HTTP methods that the provider uses; any other is refused before `verify`."""
        ...

    def verify(self, callback: Callback, /) -> Verified:
        """Check where the callback comes from, on the raw bytes and in constant time.

        Raises `NotAuthentic`, and nothing else, whatever the callback holds.
        """
        ...

    def parse(self, verified: Verified, /) -> Parsed:
        """Translate every item of the body.

        Total: never raises, whatever an authentic body holds. An item that cannot be read
        becomes an `Unrecognized` while its neighbours arrive.
        """
        ...


@runtime_checkable
class Admitting(Protocol):
    """An adapter that can tell from the head of a request alone that `verify` would refuse it.

    Asked before a body is read that has not come with its head, so that strangers cannot make
    the bridge read large ones.
    """

    def admit(self, head: Callback, /) -> None:
        """Raise `NotAuthentic` where no body would do; the body of `head` is empty."""
        ...


@runtime_checkable
class ChannelSource(Protocol):
    """An adapter that knows beforehand which channels and accounts its events can be of.

    A subscriber that waits for another one is warned of when the bridge starts.
    """

    @property
    def channels(self) -> frozenset[str]:
        """Every channel that an event of this adapter can be of."""
        ...

    @property
    def accounts(self) -> frozenset[str] | None:
        """Every account, or None where only the callbacks tell them."""
        ...


@attrs.frozen(kw_only=True)
class Window:
    """For how long after a user's message a free-form message may go; then only a template may."""

    open: timedelta


@runtime_checkable
class WindowSource(Protocol):
    """An adapter with channels that take free-form messages only for a while."""

    @property
    def windows(self) -> Mapping[str, Window]:
        """The window of each channel that has one."""
        ...


@runtime_checkable
class Signing(Protocol):
    """An adapter that says whether its provider signs each callback.

    A word in the callback's address or in a header is no signature: it is the same for every
    body. An adapter that does not say counts as unsigned.
    """

    @property
    def signed(self) -> bool:
        """Whether `verify`, with these settings, accepts nothing without a valid signature."""
        ...


@runtime_checkable
class Repeating(Protocol):
    """An adapter, or its class, that says for how long its provider repeats a callback.

    An event that the journal still knows is not published again, so `bridge check` warns where
    `keep` is shorter, and `bridge init` writes a `keep` that is long enough.
    """

    @property
    def repeats_for(self) -> timedelta:
        """How long after its first request a provider may repeat it, if it is not acknowledged."""
        ...


@attrs.frozen(kw_only=True)
class Sample:
    """A callback as the provider documents it, to try a bridge with.

    `body` is the request's JSON; `title` says what it shows.
    """

    name: str
    title: str
    body: JsonValue = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class SignedRequest:
    """A request as the provider would send it: where below the adapter's path, and with what."""

    body: bytes = attrs.field(repr=False)
    tail: str = attrs.field(default="", repr=False)
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)


@runtime_checkable
class SampleSource(Protocol):
    """An adapter that brings samples for `bridge trigger`."""

    def samples(self) -> Sequence[Sample]:
        """Every sample, in the order in which they are best read."""
        ...

    def freshen(self, body: JsonValue, nonce: str, now: datetime) -> JsonValue:
        """Give a sample new ids and times.

        The same id and nonce always give the same new id, so that what belongs together
        stays together within one run.
        """
        ...

    def authenticate(self, body: bytes) -> SignedRequest:
        """Prove the body as the provider would, with this adapter's own settings."""
        ...


class AdapterClass(Protocol):
    """What an entry point of the group `bridge.adapters` names.

    `Settings` is an attrs class: its fields are what the adapter's TOML table may hold.
    """

    @property
    def Settings(self) -> type[Any]:  # noqa: N802 - it is a class
        """The adapter's settings."""
        ...

    def __call__(self, name: str, settings: Any, /) -> Adapter:  # noqa: ANN401 - its own class
        """Make an adapter; `name` becomes the `source` of its events."""
        ...
