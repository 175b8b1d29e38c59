"""Error messages: what was found, what is allowed, and what was probably meant.

A long value is not quoted: it may be a secret that was put into the wrong setting.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Final

from bridge.settings.references import Referenced

_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to reach it
_LONGEST_SHOWN: Final = 7  # characters; a secret that keeps anybody out has more


def unknown(what: str, word: str, allowed: Iterable[str]) -> str:
    """Say that a word is not one of those allowed, which was probably meant, and list them."""
    import difflib  # noqa: PLC0415 - for mistakes alone

    words = sorted(allowed)
    close = difflib.get_close_matches(word, words, n=1) or [
        each for each in words if each.casefold() == word.casefold()
    ]
    found = f" {quoted(word)}" if close or len(word) <= _LONGEST_SHOWN else ""
    hint = f"; did you mean {quoted(close[0])}?" if close else "."
    return f"unknown {what}{found}{hint} Allowed: {', '.join(words) or 'none'}"


def mismatch(value: object, expected: str, *, is_secret: bool = False) -> str:
    """Say what was expected and what was found, quoting nothing that may be a secret."""
    return f"expected {expected}, found {shown(value, is_secret=is_secret)}"


def quoted(word: object) -> str:
    """Write a string, number or boolean as a document does."""
    return json.dumps(word, ensure_ascii=False)


def shown(value: object, *, is_secret: bool = False) -> str:
    """Return the kind of a value, and the value itself where it can be no secret."""
    if isinstance(value, Referenced):
        return "a string from elsewhere that is not shown"
    for kind, name in (
        (str, "a string"),
        (bool, "a boolean"),
        (int, "an integer"),
        (float, "a number"),
    ):
        if isinstance(value, kind):
            is_short = len(str(value)) <= _LONGEST_SHOWN and not is_secret
            return f"{name.split()[1]} {quoted(value)}" if is_short else name
    if value is None:
        return "None"
    if isinstance(value, dict):
        return "a table"
    return "an array" if isinstance(value, list) else "a date or time"


def base_url(host: str, port: int) -> str:
    """Return the address of a server that listens there."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def reached_at(host: str) -> str:
    """Return the host at which this machine reaches a server that listens on `host`."""
    return _EVERYWHERE.get(host, host)


def no_listener(host: str, port: int, error: OSError) -> str:
    """Say why nothing can listen there."""
    # asyncio puts its own words and the address before those of the system.
    number = error.errno or 0
    reason = os.strerror(number) if number > 0 else error.strerror or str(error)
    return f"cannot listen on {host} port {port}: {reason}"
