"""The latest callbacks: when and from where each came, its headers, and the events in it.

The journal keeps an event once. Headers and repetitions are kept here, in memory only: they are
needed while a webhook is set up, and would make every entry of the journal larger.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Sequence
from datetime import datetime
from ipaddress import ip_address, ip_network
from typing import Final, final

import attrs
from multidict import CIMultiDictProxy

from bridge.adapter.signing import Address
from bridge.journal.protocol import Entry
from bridge.model import Event, Message, StatusChange
from bridge.model.frozen import builder
from bridge.model.keys import happening_of
from bridge.observer import AppendDetails, Observer

MOST: Final = 500
"""How many callbacks are remembered."""

_MOST_KEYS: Final = 100  # of one callback
_MOST_HEADERS: Final = 64
_LONGEST: Final = 200  # characters of a header
_SHOWN: Final = frozenset(
    [
        "accept",
        "accept-encoding",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "date",
        "host",
        "traceparent",
        "transfer-encoding",
        "user-agent",
        "via",
        "x-amzn-trace-id",
        "x-correlation-id",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-request-id",
    ]
)
_ADDRESSES: Final = frozenset({"x-forwarded-for", "x-real-ip"})
# How a signature or a credential begins: `sha256=…`, `Bearer …`.
_SCHEME: Final = re.compile(r"(?:sha\d+=|v\d+[,=]|(?:Bearer|Basic|Digest) )", re.IGNORECASE)
_HIDDEN: Final = "…"
_PREFIXES: Final = {4: 24, 6: 48}  # bits of an address that say whose network it is


@final
@attrs.frozen(kw_only=True)
class KnownCallback:
    """A callback that contained an event, with its headers as they may be shown.

    `position` is that of the entry that was published for it; None where the event was known,
    completed one that waited, or was not stored.
    """

    source: str
    received_at: datetime
    client: str | None
    headers: Sequence[tuple[str, str]]
    position: int | None


@final
@attrs.frozen(kw_only=True, weakref_slot=False)
class _Heard:
    source: str
    received_at: datetime
    client: Address | None
    headers: CIMultiDictProxy[str]
    keys: Sequence[str]


_heard: Final = builder(_Heard)


class LatestCallbacks(Observer):
    """Remembers the latest authentic callbacks of this process, up to `MOST`."""

    def __init__(self) -> None:
        self._heard: deque[_Heard] = deque(maxlen=MOST)

    def append(self, details: AppendDetails, /) -> None:
        """Remember a callback; its headers are redacted when they are read."""
        callback = details.callback
        if callback is not None:
            keys = [event.key for event in details.events[:_MOST_KEYS]]
            self._heard.append(
                _heard(
                    source=details.adapter,
                    received_at=callback.received_at,
                    client=callback.client,
                    headers=callback.headers,
                    keys=keys,
                )
            )

    def of(self, entry: Entry, history: Sequence[Entry]) -> Sequence[KnownCallback]:
        """Return the callbacks that contained an entry's event, in the order in which they came.

        `history` holds the entries about the same message, whose names all count.
        """
        events = [entry.event, *(each.event for each in history)]
        names = {name for event in events for name in _names_of(event)}
        published = {
            (each.event.source, each.event.received_at): each.position
            for each in (*history, entry)
            if _is_same(each.event.key, entry.event, names)
        }
        return [
            KnownCallback(
                source=each.source,
                received_at=each.received_at,
                client=None if each.client is None else _network(str(each.client)),
                headers=redacted(each.headers),
                position=published.get((each.source, each.received_at)),
            )
            for each in self._heard
            if any(_is_same(key, entry.event, names) for key in each.keys)
        ]


def _names_of(event: Event) -> Collection[str]:
    if not isinstance(event, Message | StatusChange):
        return ()
    return (event.message_id, *event.aliases)


def _is_same(key: str, event: Event, names: Collection[str]) -> bool:
    """Return whether a key names this event; its message has all of these names."""
    if key == event.key:
        return True
    one, other = happening_of(key), happening_of(event.key)
    return (
        one is not None
        and other is not None
        and (one.domain, one.kind, one.rest) == (other.domain, other.kind, other.rest)
        and one.message_id in names
    )


def redacted(headers: CIMultiDictProxy[str]) -> Sequence[tuple[str, str]]:
    """Return all headers, with secrets hidden.

    Of a signature or a credential the scheme is shown, of an address its network.
    """
    found = list(headers.items())[:_MOST_HEADERS]
    return [(name[:_LONGEST], _redacted(name.lower(), value)) for name, value in found]


def _redacted(name: str, value: str) -> str:
    if name in _SHOWN:
        return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}{_HIDDEN}"
    if name in _ADDRESSES:
        return ", ".join(_network(each.strip()) for each in value[:_LONGEST].split(","))
    scheme = _SCHEME.match(value)
    return f"{scheme[0] if scheme else ''}{_HIDDEN} (length {len(value)})"


def _network(text: str) -> str:
    """Return the network of an address."""
    try:
        prefix = _PREFIXES[ip_address(text).version]
    except ValueError:
        return _HIDDEN
    return str(ip_network(f"{text}/{prefix}", strict=False))
