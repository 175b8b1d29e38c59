"""Sample callbacks and their events, with changed texts, names and numbers."""

from __future__ import annotations

import difflib
import itertools
import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Final, Protocol, TypeAlias, cast

import attrs
import orjson

from bridge import installed
from bridge.adapter import Adapter, Callback, SampleSource
from bridge.model import Content, Direction, Event, JsonValue, Media, Message

_Place: TypeAlias = tuple[str | int, ...]

_numbers: Final = itertools.count(1)
_RUN: Final = secrets.token_hex(8)  # a journal that is kept knows the ids of earlier runs


class Source(Adapter, SampleSource, Protocol):
    """An adapter that can sign callbacks, and bring samples of them."""


@attrs.frozen(kw_only=True)
class Found:
    """A sample of an adapter that is configured under `name`."""

    name: str
    source: Source
    body: JsonValue = attrs.field(repr=False)

    def made(
        self, fields: Mapping[str, object], now: datetime, user: str | None = None
    ) -> Callback:
        """Return the callback with new ids and times, these fields of its event, and this user.

        See `named`.
        """
        body = self.source.freshen(self.body, f"{_RUN}/{next(_numbers)}", now)
        body = named(self.source, body, user, now)
        return signed(self.source, rewritten(self.source, body, fields, now), now)


def sample(name: str, /, **fields: object) -> Any:  # noqa: ANN401 - whichever event it is
    """Return the event of a sample, such as `sample("incs/whatsapp-text", text="hi")`.

    `fields` are those of the event, of a message's content, or of its sender (`name`, `phone`).
    Each event has an id of its own. Where a sample holds several events, it is the first.

    Raises LookupError where there is no such sample, and ValueError where it has no such field.
    """
    adapter = name.partition("/")[0]
    found = find(name, {adapter: installed.without_secrets(adapter)})
    return events_of(found.source, found.made(fields, datetime.now(UTC)))[0]


def find(name: str, adapters: Mapping[str, Adapter]) -> Found:
    """Return a sample by its name; the adapter's may be left out where that is clear.

    Raises LookupError where none or several have it.
    """
    samples = {f"{one.name}/{label}": one for label, one in _samples(adapters)}
    names = [each for each in samples if name in (each, each.partition("/")[2])]
    if len(names) == 1:
        return samples[names[0]]
    if names:
        raise LookupError(f"several adapters have a sample {name!r}: {', '.join(names)}")
    near = difflib.get_close_matches(name, samples, n=3, cutoff=0.5)
    hint = f"; near it: {', '.join(near)}" if near else ""
    raise LookupError(f"no adapter has a sample {name!r}{hint}")


def _samples(adapters: Mapping[str, Adapter]) -> Iterator[tuple[str, Found]]:
    for name, adapter in adapters.items():
        if isinstance(adapter, SampleSource):
            for each in adapter.samples():
                yield each.name, Found(name=name, source=cast("Source", adapter), body=each.body)


def sample_of(content: Content, name: str, adapter: Adapter) -> Found:
    """Return an adapter's first sample in which a user says a thing of this kind.

    Raises LookupError where there is none.
    """
    for _, found in _samples({name: adapter}):
        now = datetime.now(UTC)
        for event in events_of(found.source, signed(found.source, found.body, now)):
            if (
                isinstance(event, Message)
                and _is_of_a_kind(event.content, content)
                and event.direction is Direction.INBOUND
                and event.sender.phone is not None
            ):
                return found
    raise LookupError(f"adapter {name} has no sample in which a user's {content.kind} comes")


def _is_of_a_kind(one: Content, other: Content) -> bool:
    if isinstance(one, Media) and isinstance(other, Media):
        return one.media is other.media
    return type(one) is type(other)


def signed(source: Source, body: JsonValue, now: datetime) -> Callback:
    """Return the callback with which the provider would send a body."""
    request = source.authenticate(orjson.dumps(body))
    return Callback(
        body=request.body,
        received_at=now,
        tail=request.tail,
        headers={"Content-Type": "application/json", **request.headers},
    )


def events_of(adapter: Source, callback: Callback) -> tuple[Event, ...]:
    """Return what an adapter makes of an authentic callback."""
    return adapter.parse(adapter.verify(callback)).events


def named(source: Source, body: JsonValue, user: str | None, now: datetime) -> JsonValue:
    """Return a body whose sender has this name, where it tells one: not every provider does."""
    sender = getattr(events_of(source, signed(source, body, now))[0], "sender", None)
    if user is None or sender is None or sender.name is None:
        return body
    return rewritten(source, body, {"sender.name": user}, now)


def rewritten(
    source: Source, body: JsonValue, fields: Mapping[str, object], now: datetime
) -> JsonValue:
    """Return a body whose event has these fields, wherever the provider's JSON holds them.

    Every value of the body that is just what the event tells today is replaced. Raises ValueError
    where the event has no such field, or where no place tells it.
    """
    if not fields:
        return body
    before = events_of(source, signed(source, body, now))[0]
    olds = {name: _told(before, name) for name in fields}
    changed = body
    for place, leaf in list(_leaves(body)):
        names = [name for name, old in olds.items() if _is_same(leaf, old)]
        # Two fields may hold the same today: then it is tried which of them a place is about.
        for name in names if names[1:] else ():
            tried = _with(body, place, _as(leaf, fields[name]))
            if _told(events_of(source, signed(source, tried, now))[0], name) == fields[name]:
                names = [name]
                break
        if names:
            changed = _with(changed, place, _as(leaf, fields[names[0]]))
    after = events_of(source, signed(source, changed, now))[0]
    for name, value in fields.items():
        if _told(after, name) != value:
            raise ValueError(
                f"{name}={value!r}: the callback tells {olds[name]!r}, which this cannot change; "
                "change the event itself, with attrs.evolve"
            )
    return changed


def _told(event: Event, name: str) -> object:
    """Return a field of an event, of its content or of its sender. Raises ValueError."""
    if "." in name:
        return attrgetter(name)(event)
    parts: tuple[Any, ...] = (event,)
    if isinstance(event, Message):
        parts = (event.content, event.sender, event)
    for part in parts:
        if hasattr(part, name) and name in attrs.fields_dict(type(part)):
            value = getattr(part, name)
            if value is None:
                raise ValueError(f"{name}: the sample tells none, so that it cannot be changed")
            return value
    known = sorted({field.name for part in parts for field in attrs.fields(type(part))})
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    raise ValueError(f"{name}: the event has no such field; {hint}")


def _leaves(body: JsonValue, place: _Place = ()) -> Iterator[tuple[_Place, JsonValue]]:
    if isinstance(body, dict | list):
        for step, below in body.items() if isinstance(body, dict) else enumerate(body):
            yield from _leaves(below, (*place, step))
    else:
        yield place, body


def _is_same(leaf: JsonValue, told: object) -> bool:
    """Return whether a leaf of a body is this value: a phone without its plus, a number as text."""
    if isinstance(leaf, str):
        return leaf in (str(told), str(told).removeprefix("+")) and leaf != ""
    return type(leaf) in (int, float) and not isinstance(told, bool) and leaf == told


def _as(leaf: JsonValue, value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return a value in the form of what it replaces."""
    if not isinstance(leaf, str):
        return value
    return str(value) if leaf.startswith("+") else str(value).removeprefix("+")


def _with(body: Any, place: _Place, value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return a copy of a body with another value in one place."""
    if not place:
        return value
    copy = body.copy()
    copy[place[0]] = _with(body[place[0]], place[1:], value)
    return copy
