"""How long this disk takes to make something durable."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

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


def _sync(descriptor: int) -> float:
    began = time.perf_counter()
    os.fdatasync(descriptor)
    return (time.perf_counter() - began) * 1000
