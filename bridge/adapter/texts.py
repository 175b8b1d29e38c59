"""Texts that are made of contents: a long one in pieces, a place as a link, a menu in words."""

from __future__ import annotations

import unicodedata
from decimal import Decimal
from typing import Final

from bridge.errors import Unsendable
from bridge.model import Location, Menu, Option

_MAX_URL: Final = 2048
_MAX_JOINED: Final = 32  # code points that one character of the user's may be made of
_ZERO_WIDTH_JOINER: Final = "\u200d"
_REGIONS: Final = range(0x1F1E6, 0x1F200)
_SKIN_TONES: Final = range(0x1F3FB, 0x1F400)
_TAGS: Final = range(0xE0020, 0xE0080)
_GOING_ON: Final = frozenset("\u200c\u0e33\u0eb3\uff9e\uff9f")  # that go on, and are no marks
_LEADING_JAMO: Final = range(0x1100, 0x1160)
_LATER_JAMO: Final = range(0x1160, 0x1200)
_VIRAMA: Final = 9  # a combining class, of what joins two consonants
_MAX_LATITUDE: Final = 90
_MAX_LONGITUDE: Final = 180


def words_of(text: str | None) -> str | None:
    """Return a text, or None where it has no words."""
    return text if text is not None and text.strip() else None


def split_text(text: str, limit: int) -> tuple[str, ...]:
    """Split a text into pieces of at most `limit` characters that joined give it again.

    Splits after a line break in the second half of a piece, else after a space, else anywhere
    but inside of what the user sees as one character.
    """
    pieces = []
    start = 0
    while len(text) - start > limit:
        end = _end_of_piece(text, start, start + limit)
        pieces.append(text[start:end])
        start = end
    pieces.append(text[start:])
    return tuple(pieces)


def _end_of_piece(text: str, start: int, limit: int) -> int:
    line = text.rfind("\n", start + (limit - start) // 2, limit)
    if line >= 0:
        return line + 1
    for end in range(limit, start, -1):
        if text[end - 1].isspace():
            return end
    for end in range(limit, max(start, limit - _MAX_JOINED), -1):
        if not _is_joined(text, end):
            return end
    return limit


def _is_joined(text: str, position: int) -> bool:
    """Return whether the code points on both sides of a position are shown as one character.

    A coarse form of https://www.unicode.org/reports/tr29/#Grapheme_Cluster_Boundary_Rules.
    """
    before, after = text[position - 1], text[position]
    return (
        unicodedata.category(after).startswith("M")
        or _ZERO_WIDTH_JOINER in (before, after)
        or after in _GOING_ON
        or ord(after) in _SKIN_TONES
        or ord(after) in _TAGS
        or ord(after) in _LATER_JAMO
        or ord(before) in _LEADING_JAMO
        or (unicodedata.combining(before) == _VIRAMA and after.isalpha())
        or (ord(after) in _REGIONS and _regions_before(text, position) % 2 == 1)
    )


def _regions_before(text: str, position: int) -> int:
    """Return how many of the letters that flags are made of, two each, end at a position."""
    start = position
    while start and ord(text[start - 1]) in _REGIONS:
        start -= 1
    return position - start


def checked_url(url: str) -> str:
    """Return a URL that may be given to a provider. Raises `Unsendable`."""
    if not url.startswith(("https://", "http://")):
        raise Unsendable("a url that is not http or https")
    if len(url) > _MAX_URL:
        raise Unsendable(f"a url of {len(url)} characters, and {_MAX_URL} are possible")
    if not url.isprintable() or " " in url:
        raise Unsendable("a url with spaces or control characters")
    return url


def degrees(value: float) -> str:
    """Write degrees as a decimal number without an exponent."""
    return format(Decimal(repr(float(value))), "f")


def link_to(location: Location) -> str:
    """Return a link that shows a place on a map.

    https://developers.google.com/maps/documentation/urls/get-started#search-action
    """
    if not (
        -_MAX_LATITUDE <= location.latitude <= _MAX_LATITUDE
        and -_MAX_LONGITUDE <= location.longitude <= _MAX_LONGITUDE
    ):
        raise Unsendable("a location beyond 90 degrees of latitude or 180 of longitude")
    if location.url is not None:
        return checked_url(location.url)
    point = f"{degrees(location.latitude)}%2C{degrees(location.longitude)}"
    return f"https://www.google.com/maps/search/?api=1&query={point}"


def menu_as_text(menu: Menu) -> str:
    """Return a menu in words; options that are replies are numbered from 1."""
    lines = []
    number = 0
    section: str | None = None
    for option in menu.options:
        if option.section is not None and option.section != section:
            section = option.section
            lines.append(section)
        words = option.title
        target = _target(option)
        if target is None:
            number += 1
            words = f"{number}. {words}"
        for more in (option.description, target):
            words = f"{words}: {more}" if more else words
        lines.append(words)
    pieces = (menu.header, menu.text, "\n".join(lines), menu.footer)
    return "\n\n".join(piece for piece in pieces if piece)


def _target(option: Option) -> str | None:
    if option.location is not None:
        return link_to(option.location)
    return option.url or option.phone
