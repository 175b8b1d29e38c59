"""The streams: made where there are none, brought up to date where there are.

Settings that an operator may have chosen (replicas, placement, limits, storage) are left as they
are.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import attrs

from bridge.errors import JournalError
from bridge.journal.domains import TO_BE_MOVED
from bridge.journal.nats.broker import Broker
from bridge.journal.nats.messages import TTL, Draft, NoStream, Refused
from bridge.journal.nats.settings import NatsSettings
from bridge.journal.nats.subjects import Names
from bridge.journal.reading import read_event

_LOG: Final = logging.getLogger("bridge.journal")

_NANOSECONDS: Final = 1_000_000_000
_NEEDED_VERSION: Final = (2, 12)  # atomic batches
_NEEDED_PAYLOAD: Final = 4 << 20  # what the bridge takes as a body by default
_NEEDED: Final = ("allow_atomic", "allow_direct", "allow_msg_ttl")
_PARTITIONS: Final = "bridge.partitions"
_DOMAINS: Final = "bridge.domains"
_ROOM: Final = 16  # messages: what an append of a few events writes
_WINDOW: Final = 0.1  # seconds; keys are known by subjects of their own, for as long as asked

_Config = dict[str, Any]


@attrs.frozen(kw_only=True)
class Limits:
    """For how many seconds events are kept, and how many bytes of them (0: no limit)."""

    keep: float
    max_bytes: int


@attrs.frozen(kw_only=True)
class Prepared:
    """Which streams they are, by their creation; where that of events ends, and its limits.

    `largest` is how large a message it takes; of several `replicas` one that leads may lag.
    """

    created: str
    state_created: str
    last: int
    replicas: int
    largest: int


async def prepare(broker: Broker, names: Names, settings: NatsSettings, limits: Limits) -> Prepared:
    """See that both streams are there, and that they take something.

    Raises `JournalError` where they cannot serve.
    """
    if broker.version < _NEEDED_VERSION:
        found, needed = (".".join(map(str, each)) for each in (broker.version, _NEEDED_VERSION))
        raise JournalError(f"NATS server {found} is too old: atomic batches need {needed}")
    await _check_domains(broker, names)
    info = await _stream(broker, _events(names, limits) | _both(settings))
    config = info["config"]
    partitions = config.get("metadata", {}).get(_PARTITIONS)
    if partitions != str(names.partitions):
        raise JournalError(
            f"the stream {names.stream} has {partitions} partitions, not {names.partitions}: "
            "a conversation would change its reader; see docs/scale.md"
        )
    state = await _stream(broker, _state(names) | _both(settings))
    await _try(broker, names.stream, messages=_ROOM if config.get("discard") == "new" else 1)
    await _try(broker, names.state, messages=1)
    if broker.connection == 1:
        _warn(broker, names, config, settings)
    largest = config.get("max_msg_size", -1)
    return Prepared(
        created=str(info["created"]),
        state_created=str(state["created"]),
        last=int(info["state"]["last_seq"]),
        replicas=config.get("num_replicas", 1),
        largest=min(broker.max_payload, largest) if largest > 0 else broker.max_payload,
    )


async def _try(broker: Broker, stream: str, *, messages: int) -> None:
    """Write as an append does, and erase that; raises where a stream has no room for it."""
    subject = f"{stream}.tried"
    await broker.write_as_one([Draft(subject, b"", {TTL: "1s"})] * messages)
    if messages > 1:  # else it is in nobody's way until it is gone by itself
        await broker.empty(stream, subject)


def _events(names: Names, limits: Limits) -> _Config:
    return {
        "name": names.stream,
        "description": "events of incs-bridge, the keys that are known, and tracks of messages",
        "subjects": [f"{names.stream}.>"],
        "max_age": int(limits.keep * _NANOSECONDS),
        "max_bytes": limits.max_bytes or -1,
        # Old events go first; a refusal instead would stop the bridge for a subscriber's sake.
        "discard": "old",
        "metadata": {_PARTITIONS: str(names.partitions), _DOMAINS: "true"},
    }


def _state(names: Names) -> _Config:
    return {
        "name": names.state,
        "description": "what incs-bridge knows of subscribers: held entries and dead letters",
        "subjects": [f"{names.state}.>"],
        "max_msgs_per_subject": 1,
    }


def _both(settings: NatsSettings) -> _Config:
    window = int(_WINDOW * _NANOSECONDS)
    needed = dict.fromkeys(_NEEDED, True)
    return {"num_replicas": settings.replicas, "duplicate_window": window, **needed}


async def _check_domains(broker: Broker, names: Names) -> None:
    """Raise `JournalError` where there is a stream whose oldest event has no trust domain."""
    with suppress(NoStream):
        info = await broker.api(f"STREAM.INFO.{names.stream}")
        if _DOMAINS in info["config"].get("metadata", {}):
            return
        oldest = await broker.stored(names.stream, next_by_subj=names.events(), seq=1)
        if oldest is not None and read_event(oldest.data, oldest.sequence).domain is None:
            raise JournalError(f"the stream {names.stream} {TO_BE_MOVED}")


async def _stream(broker: Broker, wanted: _Config) -> _Config:
    name = wanted["name"]
    try:
        info = await broker.api(f"STREAM.INFO.{name}")
    except NoStream:
        return await _make(broker, wanted)
    found = info["config"]
    missing: _Config = {key: True for key in _NEEDED if not found.get(key)}
    noted = found.get("metadata", {})
    if wanted.get("metadata", {}).keys() - noted.keys():
        missing["metadata"] = {**wanted["metadata"], **noted}
    if missing:
        info = await broker.api(f"STREAM.UPDATE.{name}", {**found, **missing})
    return info


async def _make(broker: Broker, wanted: _Config) -> _Config:
    try:
        return await broker.api(f"STREAM.CREATE.{wanted['name']}", wanted)
    except Refused as refused:
        # Another process may have made it in the same moment, with what it thinks right.
        try:
            return await broker.api(f"STREAM.INFO.{wanted['name']}")
        except NoStream:
            raise JournalError(f"the stream {wanted['name']} cannot be made: {refused}") from None


def _warn(broker: Broker, names: Names, config: Mapping[str, Any], settings: NatsSettings) -> None:
    if config.get("num_replicas", 1) == 1 and not settings.synced:
        _LOG.warning(
            "the stream %s has one replica: unless the server syncs before it acknowledges "
            "(sync_interval: always), what was acknowledged last is lost with its power",
            names.stream,
        )
    if broker.max_payload < _NEEDED_PAYLOAD:
        _LOG.warning(
            "the NATS server takes messages of up to %d bytes: larger events are refused "
            "(max_payload)",
            broker.max_payload,
        )
