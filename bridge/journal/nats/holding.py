"""What a cursor holds: entries that wait, by lane, as far as they are known here."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Self

import attrs
import orjson

from bridge.journal.protocol import Held, Retry


@attrs.frozen
class Record:
    """A held or dead entry as the state keeps it; its event is in the stream of events."""

    lane: str
    retry: Retry

    @classmethod
    def of(cls, held: Held) -> Self:
        """Return the record of an entry."""
        return cls(held.entry.lane, held.retry)

    def encode(self) -> bytes:
        """Return it as one JSON object."""
        return orjson.dumps({"lane": self.lane, **attrs.asdict(self.retry)})

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` returned."""
        fields = orjson.loads(data)
        return cls(fields.pop("lane"), Retry(**fields))


class Holding:
    """Held entries by sequence and by lane."""

    def __init__(self) -> None:
        self._records: dict[int, Record] = {}
        self._lanes: dict[str, set[int]] = {}
        self._noting: list[set[int]] = []

    def __contains__(self, sequence: int) -> bool:
        """Return whether this entry is held."""
        return sequence in self._records

    def put(self, sequence: int, record: Record) -> None:
        """Hold an entry, or replace what is known of it."""
        self._note(sequence)
        self._records[sequence] = record
        self._lanes.setdefault(record.lane, set()).add(sequence)

    def remove(self, sequence: int) -> None:
        """Let go of an entry, if it is held."""
        record = self._records.pop(sequence, None)
        self._note(sequence)
        if record is not None:
            lane = self._lanes[record.lane]
            lane.discard(sequence)
            if not lane:
                del self._lanes[record.lane]

    def _note(self, sequence: int) -> None:
        for touched in self._noting:
            touched.add(sequence)

    @contextmanager
    def touched(self) -> Iterator[AbstractSet[int]]:
        """Collect which entries are put or removed meanwhile: they are known better here."""
        touched: set[int] = set()
        self._noting.append(touched)
        try:
            yield touched
        finally:
            self._noting = [each for each in self._noting if each is not touched]

    def replace(self, records: Mapping[int, Record], *, but: AbstractSet[int]) -> None:
        """Hold these and nothing else, except for entries that are known better here."""
        kept = {sequence: self._records[sequence] for sequence in but & self._records.keys()}
        others = {sequence: records[sequence] for sequence in records.keys() - but}
        self._records = {}
        self._lanes = {}
        for sequence, record in (others | kept).items():
            self.put(sequence, record)

    def waiting(self) -> Mapping[str, float]:
        """Return when the first entry of each lane is due."""
        first = sorted((min(sequences), lane) for lane, sequences in self._lanes.items())
        return {lane: self._records[sequence].retry.due_at or 0.0 for sequence, lane in first}

    def first(self, lane: str, limit: int) -> Sequence[tuple[int, Record]]:
        """Return the first held entries of a lane."""
        found = heapq.nsmallest(limit, self._lanes.get(lane, ()))
        return [(sequence, self._records[sequence]) for sequence in found]
