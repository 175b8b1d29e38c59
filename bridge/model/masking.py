"""Keep personal data and terminal tricks out of what people read: console lines and logs.

What a user wrote may hold anything: a line break that forges a second log line, an escape
sequence that rewrites the terminal, a bidirectional override that turns a sentence around.
"""

from __future__ import annotations

import re
import unicodedata
from binascii import a2b_base64
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from decimal import Decimal
from enum import Enum
from hashlib import blake2b
from typing import Any, Final

import attrs

# Controls, formats (bidirectional overrides among them), lone surrogates, line and paragraph
# separators: what a terminal or a log viewer may act on instead of showing.
_HARMFUL: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Joiners are formats too, but emoji and several scripts are spelt with them.
_JOINERS: Final = frozenset("\u200c\u200d")

MASK: Final = "****"
"""What stands in the middle of a phone that is hidden."""

_shown: Final[ContextVar[bool]] = ContextVar("shown", default=False)

_PHONE_TAIL: Final = 2
_SHORT_PHONE: Final = 6

# A number with its plus is a phone wherever it stands. Without it, a run of digits that is no
# part of a word may be one (WhatsApp writes them bare). After a slash it is none: that is how
# the numbers of messages and templates stand in our keys, whose phones have their plus.
_PHONE_RUN: Final = re.compile(
    r"\+\d[\d ().-]{3,20}\d|(?<![0-9A-Za-z/])\d{9,15}(?![0-9A-Za-z])", re.ASCII
)


# A provider's id of a message may be base64 of the user's phone and more: of its digits, or of
# two digits in each byte with a filler (15) behind the last.
_ENCODED: Final = re.compile(r"[0-9A-Za-z+_-]{14,}={0,2}", re.ASCII)
_URL_SAFE: Final = str.maketrans("-_", "+/")
_DIGITS: Final = re.compile(rb"\d{7}")
_PACKED: Final = re.compile(r"\d{8,15}f")
_DIGEST_SIZE: Final = 6

# What the bridge or a provider says, as opposed to what a person does or is. Anything else that
# an event may hold is masked, so that a field that is added one day is not shown by oversight.
_PLAIN: Final = frozenset(
    (
        *("kind", "source", "channel", "occurred_at", "received_at", "direction", "origin", "role"),
        *("status", "provider_status", "code", "forwarded", "media", "mime_type", "sha256"),
        *("language", "category", "aspect", "template_id", "template_name", "topic", "change"),
        *("source_type", "media_type", "provider_type", "currency", "model", "type"),
        *("expires_at", "effective_at", "reply_until", "not_before", "conversation_expires_at"),
        *("domain", "id_space"),
    )
)
# Fields that may hold a phone number, and no other personal data.
_NAMES: Final = frozenset(
    (
        *("key", "account", "id", "reason", "path", "current", "completes"),
        *("message_id", "aliases"),
    )
)
_BUSINESS: Final = "business"  # in the place of `Role`, which uses this module
_HIDDEN: Final = frozenset(("raw", "details"))
_PLACES: Final = frozenset(("latitude", "longitude"))


def neutralise(text: str) -> str:
    """Return the text with everything that could act on a terminal written as an escape."""
    if text.isprintable():
        return text
    return "".join(
        _escaped(character)
        if unicodedata.category(character) in _HARMFUL and character not in _JOINERS
        else character
        for character in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def mask_phone(phone: str) -> str:
    """Return a phone with all but its last two digits hidden, to tell two of them apart."""
    digits = phone.removeprefix("+")
    plus = phone[: len(phone) - len(digits)]
    return f"{plus}{MASK}{digits[-_PHONE_TAIL:] if len(digits) >= _SHORT_PHONE else digits[-1:]}"


def mask_text(text: str) -> str:
    """Return how long a text is, and nothing of it."""
    return f"({len(text)} character{'' if len(text) == 1 else 's'})"


def mask_phones_in(text: str) -> str:
    """Return a text with everything in it masked that could be a phone number.

    A digest stands for an id that has one inside, so that the same text comes out the same.
    """
    return _ENCODED.sub(_masked_id, _PHONE_RUN.sub(_masked_run, text))


def _masked_id(match: re.Match[str]) -> str:
    text = match.group()
    if not _holds_phone(text.rstrip("=").translate(_URL_SAFE)):
        return text
    return MASK + blake2b(text.encode(), digest_size=_DIGEST_SIZE).hexdigest()


def _holds_phone(encoded: str) -> bool:
    for start in range(4):  # wherever in a longer text it begins
        length = (len(encoded) - start) // 4 * 4
        data = a2b_base64(encoded[start : start + length])
        if _DIGITS.search(data) or (start == 0 and _PACKED.search(data.hex())):
            return True
    return False


def _masked_run(match: re.Match[str]) -> str:
    run = match.group()
    digits = "".join(filter(str.isdigit, run))
    return mask_phone(f"+{digits}" if run.startswith("+") else digits)


def masked(value: Any, name: str = "") -> Any:  # noqa: ANN401 - JSON
    """Return an event's JSON with personal data masked and the provider's item left out."""
    if isinstance(value, dict):
        return {key: masked(item, key) for key, item in value.items() if key not in _HIDDEN}
    if isinstance(value, list):
        return [masked(item, name) for item in value]
    if isinstance(value, float) and name in _PLACES:
        return mask_text(str(value))
    if not isinstance(value, str) or name in _PLAIN:
        return value
    if name in _NAMES:
        return mask_phones_in(value)
    return mask_phone(value) if name in ("phone", "user_id") else mask_text(value)


def mask_told_in(text: str, event: Any) -> str:  # noqa: ANN401 - JSON
    """Return a text with every phone masked, and what it repeats of an event's personal data.

    `event` is the event's JSON. An error of a subscriber may quote what a user wrote.
    """
    hidden = {word: masked(word, name) for word, name in _personal(event) if len(word) <= len(text)}
    if hidden:
        words = "|".join(re.escape(word) for word in sorted(hidden, key=len, reverse=True))
        text = re.sub(rf"(?<!\w)(?:{words})(?!\w)", lambda match: hidden[match.group()], text)
    return mask_phones_in(text)


def _personal(value: Any, name: str = "") -> set[tuple[str, str]]:  # noqa: ANN401 - JSON
    """Return what is a user's in an event and masked, each word with the name of its field."""
    if isinstance(value, dict):
        if value.get("role") == _BUSINESS:
            return set()
        parts = ((item, key) for key, item in value.items() if key not in _HIDDEN)
    elif isinstance(value, list):
        parts = ((item, name) for item in value)
    else:
        is_hidden = isinstance(value, str) and value and name not in _PLAIN | _NAMES
        return {(value, name)} if is_hidden else set()
    return set().union(*(_personal(item, key) for item, key in parts))


@contextmanager
def whole_reprs() -> Iterator[None]:
    """Let `discreet` hide nothing in the block, for tests: their data is nobody's."""
    before = _shown.get()
    _shown.set(True)
    try:
        yield
    finally:
        _shown.set(before)  # no token: a fixture may end in another context than it began in


def discreet(value: Any) -> str:  # noqa: ANN401 - an instance of an attrs class
    """Return the repr of a value of the model: what is set in it, and no personal data.

    Logs, tracebacks and test runners print whatever they come across.
    """
    told = (
        f"{field.name}={_discreet(inner, field.name)}"
        for field in attrs.fields(type(value))
        if field.repr and field.name not in _HIDDEN
        if (inner := getattr(value, field.name)) is not None and inner != field.default
    )
    return f"{type(value).__qualname__}({', '.join(told)})"


def _discreet(value: object, name: str) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(_discreet(each, name) for each in value)})"
    if isinstance(value, datetime):
        return value.isoformat()
    if _shown.get():
        return repr(value)
    if isinstance(value, dict | list):
        return MASK
    if isinstance(value, Decimal):
        value = str(value)
    return repr(value) if isinstance(value, Enum) else repr(masked(value, name))
