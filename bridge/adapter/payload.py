"""Read what a provider sent, trusting nothing about its shape.

Each reader takes any JSON value and returns its meaning, or None where there is none. They never
raise and never guess.
"""

from __future__ import annotations

import binascii
import hashlib
import math
import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Final, TypeVar

import orjson

from bridge.model import JsonValue

T = TypeVar("T")

INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**64 - 1
_FLOAT_MAX: Final = sys.float_info.max
_EXACT: Final = 2**53  # up to here a double tells whole numbers apart
_MILLISECONDS_FROM: Final = 100_000_000_000  # as seconds this is the year 5138
_FIRST_SECOND: Final = 1_000_000_000  # in September 2001; what is earlier stands for no time
_FIRST_YEAR: Final = "2001"
MAX_DIGITS: Final = 400
_from_timestamp: Final = datetime.fromtimestamp
_from_iso: Final = datetime.fromisoformat
_MAX_TIMES: Final = 256
_UNIX_DIGITS: Final = 10  # of the seconds from 2001 to 2286
_RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ]((?:[01]\d|2[0-3]):\d\d):(\d\d)(\.\d+)?"
    r"([Zz]|[+-](?:[01]\d|2[0-3]):?[0-5]\d)",
    re.ASCII,
)
_TIME_NAME: Final = re.compile("(?i)time|date|_at$|(?-i:At)$")
_PUNCTUATION_OF_UTC: Final = ("--T::Z", "--T::.")  # of 2026-11-01T12:00:00Z, and of a fraction
_LENGTHS_OF_UTC: Final = (20, 22, 23, 24, 25, 26, 27)  # with up to six digits of a second
_PHONE_PUNCTUATION: Final = str.maketrans("", "", " -().\u00a0\u2011")
_MIN_PHONE_DIGITS: Final = 5
_MAX_PHONE_DIGITS: Final = 15  # E.164
_SHA256_BYTES: Final = 32


def mapping(value: JsonValue) -> dict[str, JsonValue]:
    """Return an object, or an empty one."""
    return value if type(value) is dict else {}


def sole(value: JsonValue) -> dict[str, JsonValue]:
    """Return an object, or the only one of an array, or an empty one."""
    if type(value) is list and len(value) == 1:
        value = value[0]
    return value if type(value) is dict else {}


def sequence(value: JsonValue) -> list[JsonValue]:
    """Return an array, or an empty one."""
    return value if type(value) is list else []


def several(value: JsonValue) -> list[JsonValue]:
    """Return an array, or one with what stands in its place."""
    if type(value) is list:
        return value
    return [] if value is None else [value]


def text(value: JsonValue) -> str | None:
    """Return a string, also an empty one; a number becomes its digits."""
    if type(value) is str:
        return value
    if type(value) is int or type(value) is float:
        return str(value)
    return None


def filled(value: JsonValue) -> str | None:
    """Return a string that is not empty; a number becomes its digits."""
    if value is None or type(value) is str:  # by far the most, so without another call
        return value or None
    return text(value) or None


def identifier(value: JsonValue) -> str | None:
    """Return an id: a string that is not empty, or a whole number's digits, also of 4.0."""
    if type(value) is str:
        return value or None
    if type(value) is float:
        return str(int(value)) if abs(value) <= _EXACT and value == int(value) else None
    return str(value) if type(value) is int else None


def first(
    parent: dict[str, JsonValue], names: Sequence[str], read: Callable[[JsonValue], T | None]
) -> T | None:
    """Return what stands under the first of these names that holds something to this reader."""
    for name in names:
        if name in parent:
            found = read(parent[name])
            if found is not None:
                return found
    return None


def integer(value: JsonValue) -> int | None:
    """Return a whole number, also from its digits in a string."""
    if type(value) is int:
        return value if INTEGER_MIN <= value <= INTEGER_MAX else None
    if type(value) is float:
        fits = INTEGER_MIN <= value <= INTEGER_MAX and value == int(value)
        return int(value) if fits else None
    if type(value) is str and len(value) <= 20:  # noqa: PLR2004 - the digits of 2**64
        digits = value.removeprefix("-")
        if digits.isascii() and digits.isdigit():
            number = int(value)
            return number if INTEGER_MIN <= number <= INTEGER_MAX else None
    return None


def number(value: JsonValue) -> float | None:
    """Return a finite number, also from its decimal form in a string."""
    if type(value) is int or type(value) is float:
        return float(value) if -_FLOAT_MAX <= value <= _FLOAT_MAX else None
    if type(value) is str and _is_plain(value):
        try:
            result = float(value)
        except ValueError:
            return None
        return result if math.isfinite(result) else None
    return None


def decimal(value: JsonValue) -> Decimal | None:
    """Return an exact decimal: a float by the digits it was written with."""
    if type(value) not in (int, float, str):
        return None
    if type(value) is str and not _is_plain(value):
        return None
    try:
        result = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return result if result.is_finite() else None


def _is_plain(digits: str) -> bool:
    # Python also reads 1_000 and the digits of other scripts; no provider means a number by them.
    return len(digits) <= MAX_DIGITS and digits.isascii() and "_" not in digits


def boolean(value: JsonValue) -> bool | None:
    """Return a boolean, also from 0, 1, "true" and "false"."""
    if value is None or type(value) is bool:
        return value
    if value in (0, 1):
        return bool(value)
    if type(value) is str:
        return {"true": True, "false": False}.get(value.lower())
    return None


def instant(value: JsonValue) -> datetime | None:
    """Return a time in UTC from Unix seconds or milliseconds (number or digits) or RFC 3339.

    A time without a zone is no instant, so it gives None, and so does one before 2001: a zero
    stands for no time at all. Nine digits of a second are cut to the six that a `datetime` holds.
    """
    if type(value) is str:
        if len(value) == _UNIX_DIGITS:
            try:  # `suppress` would take longer than the rest
                return unix_times[value]  # as most providers tell the time
            except KeyError:
                pass
        elif value[4:20:3] in _PUNCTUATION_OF_UTC:
            return _utc(value)
        if "-" in value[1:]:
            return _rfc3339(value)
    elif type(value) is int and _FIRST_SECOND <= value < _MILLISECONDS_FROM:
        return unix_times[value]
    seconds = number(value)
    if seconds is None:
        return None
    if seconds >= _MILLISECONDS_FROM:
        seconds /= 1000
    if seconds < _FIRST_SECOND:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


class _UnixTimes(dict[int | str, datetime]):
    """Times by their seconds since 1970, or by the ten digits of these; others are a `KeyError`.

    They are remembered, since what comes by the dozen a second shares its seconds. `lru_cache`
    would do so too, but take twice as long as the time itself wherever it is a new one.
    """

    def __missing__(self, seconds: int | str) -> datetime:
        if type(seconds) is str:
            is_one = len(seconds) == _UNIX_DIGITS and seconds.isdigit() and seconds.isascii()
            is_one = is_one and seconds[0] > "0"
        else:
            is_one = type(seconds) is int and _FIRST_SECOND <= seconds < _MILLISECONDS_FROM
        if not is_one:
            raise KeyError
        if len(self) >= _MAX_TIMES:
            self.clear()
        time = self[seconds] = _from_timestamp(int(seconds), UTC)
        return time


unix_times: Final = _UnixTimes()


def _utc(value: str) -> datetime | None:
    """Read the usual form of RFC 3339, whose punctuation has been looked at, in a fifth the time.

    Beyond that form `fromisoformat` takes a point without digits, anything at all after six of
    them, and on newer Pythons the hour 24.
    """
    if (
        value[-1] == "Z"
        and len(value) in _LENGTHS_OF_UTC
        and value[11:13] != "24"
        and value > _FIRST_YEAR
    ):
        try:
            return _from_iso(value)
        except ValueError:  # a leap second, or no time at all
            pass
    return _rfc3339(value)


def _rfc3339(value: str) -> datetime | None:
    match = _RFC3339.fullmatch(value)
    if match is None or value < _FIRST_YEAR:
        return None
    date, time, second, fraction, zone = match.groups()
    # A leap second is shown as the one before it.
    seconds = "59" if second == "60" else second
    try:
        return _from_iso(f"{date}T{time}:{seconds}{fraction or ''}{zone.upper()}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def phone(value: JsonValue) -> str | None:
    """Return a phone number in E.164 with its plus sign, or None where it is none.

    Digits with or without the plus and the usual punctuation are accepted; whether the number
    is in use is not asked. A masked number (`+628XXXXXXXXX`) gives None, and so
    does one that starts with a zero, since no country's does: it lacks its country.
    """
    if type(value) is not str:
        if type(value) is not int:
            return None
        value = str(value)
    digits = value
    if not digits.isdigit():
        digits = value[1:] if value[:1] == "+" else value
        if not digits.isdigit():
            if digits[:1].isalpha() or digits[-1:].isalpha():
                return None  # an agent's account, a masked number: many, and sooner told
            digits = value.translate(_PHONE_PUNCTUATION).removeprefix("+")
            if not digits.isdigit():
                return None
    if (
        _MIN_PHONE_DIGITS <= len(digits) <= _MAX_PHONE_DIGITS
        and digits[0] != "0"
        and digits.isascii()
    ):
        return "+" + digits
    return None


def sha256_hex(value: JsonValue) -> str | None:
    """Return a SHA-256 in hexadecimal from its base64 form (or from hexadecimal itself)."""
    if type(value) is not str:
        return None
    if len(value) == 2 * _SHA256_BYTES:
        try:
            raw = bytes.fromhex(value)
        except ValueError:
            return None
        return raw.hex() if len(raw) == _SHA256_BYTES else None  # it skips spaces
    decoded = base64_bytes(value)
    return decoded.hex() if decoded is not None and len(decoded) == _SHA256_BYTES else None


def base64_bytes(text: str) -> bytes | None:
    """Decode base64 of either alphabet, with or without its padding."""
    # `translate` takes a table's look-up for each letter, `replace` next to nothing.
    digits = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return binascii.a2b_base64(digits + "=" * (-len(digits) % 4), strict_mode=True)
    except ValueError:
        return None


def tells_time(value: JsonValue) -> bool:
    """Return whether a value says anywhere inside when something was, by a name that says so."""
    if type(value) is dict:
        return any(
            tells_time(part) or (_TIME_NAME.search(name) and instant(part) is not None)
            for name, part in value.items()
        )
    return type(value) is list and any(map(tells_time, value))


def digest(item: JsonValue) -> str:
    """Return the SHA-256 of an item, in hexadecimal; the order of its names does not matter."""
    return sha256(sorted_json(item))


def sorted_json(item: JsonValue) -> bytes:
    """Write JSON so that the order of names does not matter."""
    return orjson.dumps(item, option=orjson.OPT_SORT_KEYS)


def sha256(data: bytes) -> str:
    """Return a SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
