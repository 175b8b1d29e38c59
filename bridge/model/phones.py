"""Phone numbers that are written in two ways, brought to one.

WhatsApp drops and adds a digit in three countries, so that one user's number comes in two
spellings. `folded` is for comparing; what a provider told is never changed.
"""

from __future__ import annotations

import re
from typing import Final

# +55 DD 9XXXX-XXXX for +55 DD XXXX-XXXX, +52 1 … for +52 …, +54 9 … for +54 …
# https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/phone-numbers
_SPELLINGS: Final = tuple(
    (
        re.compile(f"({before}){digit}({after})", re.ASCII),
        re.compile(f"({before})({after})", re.ASCII),
        digit,
    )
    for before, digit, after in (
        (r"\+55\d\d", "9", r"[6-9]\d{7}"),
        (r"\+52", "1", r"\d{10}"),
        (r"\+54", "9", r"\d{10}"),
    )
)


def folded(phone: str) -> str:
    """Return a number in E.164 without the digit that comes and goes; others as they are."""
    if phone.startswith("+5"):  # few do
        for long, _, _ in _SPELLINGS:
            match = long.fullmatch(phone)
            if match is not None:
                return match[1] + match[2]
    return phone


def spellings(phone: str) -> tuple[str, ...]:
    """Return a number in every way that it may be written; others alone."""
    short = folded(phone)
    matches = ((pattern.fullmatch(short), digit) for _, pattern, digit in _SPELLINGS)
    longer = (f"{match[1]}{digit}{match[2]}" for match, digit in matches if match is not None)
    return tuple(dict.fromkeys((phone, short, *longer)))
