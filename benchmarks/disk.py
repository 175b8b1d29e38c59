"""How long this disk takes to make something durable."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import apsw
import attrs

_PAGE = bytes(4096)
_TIMES = 50


@attrs.frozen(kw_only=True)
class Syncs:
    """How long each fdatasync took, in milliseconds.

    `appended` are those after 4 KB at the end of a file: it grows, and its size is synced as
    well. `rewritten` are those after 4 KB in the place of others, as in a write-ahead log that
    has started over.
    """

    appended: tuple[float, ...]
    rewritten: tuple[float, ...]


def measure_syncs(directory: Path) -> Syncs:
    """Measure in a file of its own, which is gone afterwards."""
    appended, rewritten = [], []
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        for number in range(_TIMES):
            os.pwrite(file.fileno(), _PAGE, number * len(_PAGE))
            appended.append(_sync(file.fileno()))
        for number in range(_TIMES):
            os.pwrite(file.fileno(), _PAGE, number * len(_PAGE))
            rewritten.append(_sync(file.fileno()))
    return Syncs(appended=tuple(appended), rewritten=tuple(rewritten))


class CountedDisk(apsw.VFS):
    """This machine's disk, whose syncs by SQLite are counted, each of which takes `pause` longer.

    `took` says for how many seconds each of them kept SQLite waiting.
    """

    def __init__(self, pause: float) -> None:
        self.name = f"counted-{uuid4()}"
        self.pause = pause
        self.took: list[float] = []
        super().__init__(self.name, "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - apsw's name
        return _CountedFile(self, name, flags)


class _CountedFile(apsw.VFSFile):
    def __init__(self, disk: CountedDisk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        super().__init__("", name, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's name
        began = time.perf_counter()
        super().xSync(flags)
        if self._disk.pause:
            time.sleep(self._disk.pause)
        self._disk.took.append(time.perf_counter() - began)


def _sync(descriptor: int) -> float:
    began = time.perf_counter()
    os.fdatasync(descriptor)
    return (time.perf_counter() - began) * 1000
