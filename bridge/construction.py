"""What the settings only name: the journal to keep events in, and the functions to call."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from bridge.bus import Subscriber
from bridge.console import Console
from bridge.errors import ConfigurationError, Problem
from bridge.journal.base import Journal
from bridge.journal.memory import MemoryJournal
from bridge.journal.sqlite import SqliteJournal
from bridge.model import CONTENT_CLASSES, EVENT_CLASSES, Event
from bridge.settings import CONSOLE, JournalSettings, SubscriberEntry


def journal_of(settings: JournalSettings) -> Journal:
    """Return the journal; nothing is opened yet. Raises `ConfigurationError`."""
    if settings.engine == "memory":
        return MemoryJournal()
    if settings.engine == "nats":
        return _nats_journal(settings)
    return SqliteJournal(
        settings.path,
        keep=settings.keep,
        max_size=settings.max_size,
        absolute_limit=settings.absolute_limit,
        min_free_space=settings.min_free_space,
    )


def _nats_journal(settings: JournalSettings) -> Journal:
    try:
        from bridge.journal.nats import NatsJournal  # noqa: PLC0415 - an extra of its own
    except ModuleNotFoundError as error:
        problem = Problem("journal.engine", "needs the extra: pip install incs-bridge[nats]")
        raise ConfigurationError((problem,)) from error
    nats = settings.nats
    # What has flowed into the stream need not stay in the spool.
    spool = SqliteJournal(nats.spool_path, keep=0, max_size=nats.spool_max_size)
    return NatsJournal(
        nats.servers,
        credentials=nats.credentials,
        stream=nats.stream,
        partitions=nats.partitions,
        replicas=nats.replicas,
        keep=settings.keep,
        remember=nats.remember,
        max_bytes=settings.max_size,
        synced=nats.synced,
        timeout=nats.timeout,
        patience=nats.patience,
        spool=spool if nats.spool else None,
    )


def subscriber_of(entry: SubscriberEntry) -> Subscriber:
    """Return the subscriber. Raises `ConfigurationError` where its function is not there."""
    kinds = {cls.kind: cls for cls in EVENT_CLASSES}
    contents = {cls.kind: cls for cls in CONTENT_CLASSES}
    return Subscriber(
        name=entry.name,
        function=(
            Console(show_personal_data=entry.show_personal_data)
            if entry.use == CONSOLE
            else _imported(entry)
        ),
        events=tuple(kinds[kind] for kind in entry.events) or (Event,),
        channel=entry.channel,
        account=entry.account,
        direction=entry.direction,
        content=() if entry.content is None else (contents[entry.content],),
    )


def _imported(entry: SubscriberEntry) -> Callable[[Any], object]:
    """Return the function that a subscriber's `use` names."""
    module, _, path = entry.use.partition(":")
    try:
        found: object = importlib.import_module(module)
    except Exception as error:
        # Whatever the user's module raises while it is imported, its own words say it best.
        problem = Problem("use", f"cannot import {module!r}: {type(error).__name__}: {error}")
        raise ConfigurationError((problem,)) from error
    for name in path.split("."):
        found = getattr(found, name, None)
    if not callable(found):
        raise ConfigurationError((Problem("use", f"{module!r} has no function {path!r}"),))
    return found
