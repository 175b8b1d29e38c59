"""Phone numbers that are written in two ways, brought to one.

WhatsApp drops and adds a digit in three countries, so that one user's number comes in two
spellings. `folded` is for comparing; what a provider told is never changed.
"""

from __future__ import annotations

import re
from typing import Final

# +55 DD 9XXXX-XXXX for +55 DD XXXX-XXXX, +52 1 … for +52 …, +54 9 … for +54 …
# https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/phone-numbers
_BRAZIL: Final = re.compile(r"(\+55\d\d)9([6-9]\d{7})", re.ASCII)
_MEXICO: Final = re.compile(r"(\+52)1(\d{10})", re.ASCII)
_ARGENTINA: Final = re.compile(r"(\+54)9(\d{10})", re.ASCII)


def folded(phone: str) -> str:
    """Return a number in E.164 without the digit that comes and goes; others as they are."""
    for pattern in (_BRAZIL, _MEXICO, _ARGENTINA):
        match = pattern.fullmatch(phone)
        if match is not None:
            return match[1] + match[2]
    return phone
