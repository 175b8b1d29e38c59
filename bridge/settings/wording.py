"""Error messages: what was found, what is allowed, and what was probably meant."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from typing import Final

from bridge.settings.references import Referenced

_MAX_QUOTED: Final = 60


def unknown(what: str, word: str, allowed: Iterable[str]) -> str:
    """Say that a word is not one of those allowed, which was probably meant, and list them."""
    words = sorted(allowed)
    close = difflib.get_close_matches(word, words, n=1) or [
        each for each in words if each.casefold() == word.casefold()
    ]
    hint = f"; did you mean {quoted(close[0])}?" if close else "."
    return f"unknown {what} {quoted(word)}{hint} Allowed: {', '.join(words) or 'none'}"


def mismatch(value: object, expected: str, *, is_secret: bool = False) -> str:
    """Say what was expected and what was found, quoting nothing that may be a secret."""
    return f"expected {expected}, found {_description(value, is_secret=is_secret)}"


def quoted(word: object) -> str:
    """Write a string, number or boolean as a document does; a long one is cut."""
    text = json.dumps(word, ensure_ascii=False)
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…"


def _description(value: object, *, is_secret: bool) -> str:
    if isinstance(value, Referenced):
        return "a string from elsewhere that is not shown"
    for kind, name in (
        (str, "a string"),
        (bool, "a boolean"),
        (int, "an integer"),
        (float, "a number"),
    ):
        if isinstance(value, kind):
            return name if is_secret else f"{name.split()[1]} {quoted(value)}"
    if isinstance(value, dict):
        return "a table"
    return "an array" if isinstance(value, list) else "a date or time"
