"""Where a new subscriber begins: a word that settings and commands know without a journal."""

from __future__ import annotations

from enum import StrEnum


class Start(StrEnum):
    """Where a subscriber begins that the journal does not know yet."""

    END = "end"
    BEGINNING = "beginning"
