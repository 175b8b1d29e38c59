"""Keep personal data and terminal tricks out of what people read: console lines and logs.

What a user wrote may hold anything: a line break that forges a second log line, an escape
sequence that rewrites the terminal, a bidirectional override that turns a sentence around.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Final

# Controls, formats (bidirectional overrides among them), lone surrogates, line and paragraph
# separators: what a terminal or a log viewer may act on instead of showing.
_HARMFUL: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Joiners are formats too, but emoji and several scripts are spelt with them.
_JOINERS: Final = frozenset("\u200c\u200d")

MASK: Final = "****"
"""What stands in the middle of a phone that is hidden."""

_PHONE_HEAD: Final = 4
_PHONE_TAIL: Final = 3
_SHORT_PHONE: Final = 10

# A number with its plus is a phone wherever it stands. Without it, a run of digits that is no
# part of a word may be one (WhatsApp writes them bare). After a slash it is none: that is how
# the numbers of messages and templates stand in our keys, whose phones have their plus.
_PHONE_RUN: Final = re.compile(
    r"\+\d[\d ().-]{3,20}\d|(?<![0-9A-Za-z/])\d{9,15}(?![0-9A-Za-z])", re.ASCII
)


# What the bridge or a provider says, as opposed to what a person does or is. Anything else that
# an event may hold is masked, so that a field that is added one day is not shown by oversight.
_PLAIN: Final = frozenset(
    (
        *("kind", "source", "channel", "occurred_at", "received_at", "direction", "origin", "role"),
        *("status", "provider_status", "code", "forwarded", "media", "mime_type", "sha256"),
        *("language", "category", "aspect", "template_id", "template_name", "topic", "change"),
        *("source_type", "media_type", "provider_type", "currency", "model", "type"),
        *("expires_at", "effective_at", "message_id", "aliases"),
    )
)
# Fields that may hold a phone number, and no other personal data.
_NAMES: Final = frozenset(("key", "account", "id", "reason", "path", "current"))
_HIDDEN: Final = frozenset(("raw", "details"))


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
    """Return a phone with its middle hidden, so that people who know it recognise it."""
    digits = phone.removeprefix("+")
    plus = phone[: len(phone) - len(digits)]
    if len(digits) < _SHORT_PHONE:
        return f"{plus}{MASK}{digits[-1:]}"
    return f"{plus}{digits[:_PHONE_HEAD]}{MASK}{digits[-_PHONE_TAIL:]}"


def mask_text(text: str) -> str:
    """Return how long a text is, and nothing of it."""
    return f"({len(text)} character{'' if len(text) == 1 else 's'})"


def mask_phones_in(text: str) -> str:
    """Return a text with everything in it masked that could be a phone number."""
    return _PHONE_RUN.sub(_masked_run, text)


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
    if not isinstance(value, str) or name in _PLAIN:
        return value
    if name in _NAMES:
        return mask_phones_in(value)
    return mask_phone(value) if name in ("phone", "user_id") else mask_text(value)
