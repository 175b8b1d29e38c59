"""On what terms users may be written to, noted once from the events of a stream that did not say.

Records remember it since a version of bridge after those that wrote the oldest streams.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from bridge.errors import JournalError
from bridge.journal.nats.messages import Away, Draft
from bridge.journal.nats.publisher import Publisher
from bridge.journal.nats.streams import Streams
from bridge.journal.reading import read_event
from bridge.model import ConsentChange, Handover, Message

_KINDS: Final = (Message.kind, Handover.kind, ConsentChange.kind)
_AFTER_ERROR: Final = 0.5  # seconds
_LOG: Final = logging.getLogger("bridge.journal")


async def note_terms(streams: Streams, publisher: Publisher) -> None:
    """Note what all events tell, unless a process has done so; meanwhile events are taken.

    The newest word counts, so that it does not matter what has been noted since, or by whom.
    """
    while True:
        await streams.until_ready()
        try:
            await _note_terms(streams, publisher)
        except Away:
            await asyncio.sleep(_AFTER_ERROR)
        except JournalError as error:
            _LOG.error("what users said before is known from their next message on: %s", error)
            return
        else:
            return


async def _note_terms(streams: Streams, publisher: Publisher) -> None:
    names = streams.names
    if await streams.broker.stored(names.state, last_by_subj=names.terms) is not None:
        return
    for kind in _KINDS:
        async for page in streams.between(names.events(kind=kind), 1, await streams.last()):
            await publisher.note_terms([read_event(each.data, each.sequence) for each in page])
    for queue in await publisher.waiting():
        await publisher.note_terms([item.event for item in queue.items])
    await streams.broker.write(Draft(names.terms, b"noted"))
