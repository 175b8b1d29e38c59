"""What a type of a setting looks like in a document, and how a value of it is read.

Settings may hold attrs classes, arrays and tables, strings, numbers, booleans, words (`Literal`
and `Enum`), networks, paths, secrets, durations and sizes, and unions of them. No value is
converted silently: a boolean is no integer, and a number no string.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from fractions import Fraction
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar, Union, get_args, get_origin

import attrs

from bridge.adapter.signing import Network, Secret
from bridge.errors import ConfigurationError, Problem
from bridge.settings.references import Referenced
from bridge.settings.wording import mismatch, quoted, unknown

T = TypeVar("T")
Kind: TypeAlias = tuple[str, Callable[[Any], object]]
"""What values of a type look like, and their reader: `ValueError`, `TypeError` or `LookupError`
tell that a value is none of the type, and `ConfigurationError` anything else that is wrong."""

GIVEN: Final = {"bridge.settings.given": True}
"""The metadata of a field that is not a key of a table: the reader's caller gives its value."""

ARRAYS: Final[tuple[object, ...]] = (tuple, list, frozenset, Sequence)
TABLES: Final[tuple[object, ...]] = (dict, Mapping)

_NAME_MAX: Final = 255  # bytes, on Linux and macOS
_QUANTITY: Final = re.compile(r"(\d{1,30}(?:\.\d{1,30})?) ?([a-zA-Z]*)", re.ASCII)


@attrs.frozen(eq=False)
class Scale:
    """How a quantity may be written: as a number of its smallest unit, or with a unit behind it."""

    name: str
    units: Mapping[str, Fraction | int]

    def read(self, cls: type[int | float], value: object) -> float:
        """Return the quantity. Raises `ValueError` or `LookupError` where it is none."""
        if isinstance(value, str) and (match := _QUANTITY.fullmatch(value)):
            quantity = Fraction(match[1]) * (self.units[match[2]] if match[2] else 1)
        elif type(value) is int or (type(value) is float and math.isfinite(value)):
            quantity = Fraction(value)
        else:
            raise ValueError
        if quantity < 0 or (cls is int and quantity.denominator != 1):
            raise ValueError
        return cls(quantity)


Duration: TypeAlias = Annotated[
    float,
    Scale(
        'a duration in seconds, or one such as "500ms", "30s", "5m", "12h", "8d"',
        {"ms": Fraction(1, 1000), "s": 1, "m": 60, "h": 3600, "d": 86400},
    ),
]
"""Seconds; in a document also a string with a unit."""

Size: TypeAlias = Annotated[
    int,
    Scale(
        'a size in bytes, or one such as "512kB", "64KiB", "4MiB", "1GiB"',
        {"B": 1}
        | {f"{prefix}B": 1000**power for power, prefix in enumerate("kMGT", 1)}
        | {f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGT", 1)},
    ),
]
"""Bytes; in a document also a string with a unit."""


def seconds(text: str) -> float | None:
    """Return a duration that is written as in a document, such as "90s" or "1h", or None."""
    try:
        return float(get_args(Duration)[1].read(float, text))
    except (ValueError, LookupError):
        return None


def between(
    low: float, high: float = math.inf
) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    """Return a validator of a number's range, both ends included; None passes as the default."""
    expected = (
        f"a number of at least {low}" if high == math.inf else f"a number from {low} to {high}"
    )

    def check(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value is None and attribute.default is None:
            return
        if isinstance(value, bool) or not isinstance(value, int | float):  # from a program
            number = seconds(value) if isinstance(value, str) else None
            hint = "" if number is None else f"; in Python, write {number:g}"
            told = f"{mismatch(value, expected)}{hint}"
            raise ConfigurationError((Problem(attribute.name, told),))
        if not low <= value <= high:
            raise ConfigurationError(mismatch(value, expected))

    return check


def matching(pattern: re.Pattern[str], expected: str) -> Callable[[object, object, str], None]:
    """Return a validator of a string's form."""

    def check(_instance: object, _attribute: object, value: str) -> None:
        if not pattern.fullmatch(value):
            raise ConfigurationError(mismatch(value, expected))

    return check


def read(value: object, hint: object) -> object:
    """Return a value without parts as its type wants it. Raises `ConfigurationError`."""
    kind = kind_of(hint)
    try:
        if kind is not None:
            return kind[1](value)
    except (ValueError, TypeError, LookupError, OverflowError):
        pass
    raise misfit(value, hint)


def misfit(value: object, hint: object) -> ConfigurationError:
    """Say what the type wants, and what was found; nothing is quoted where secrets belong."""
    return ConfigurationError(mismatch(value, expected(hint), is_secret=_holds_secrets(hint)))


def expected(hint: object) -> str:
    """Say what values of a type look like."""
    if kind := kind_of(hint):
        return kind[0]
    if get_origin(hint) in ARRAYS:
        return f"an array, each item {expected(get_args(hint)[0])}"
    return "a table"


def arms(hint: object) -> tuple[Any, ...]:
    """Return the types of a union without None, or the one type that the hint is."""
    if get_origin(hint) not in (Union, UnionType):
        return (hint,)
    return tuple(arm for arm in get_args(hint) if arm is not NoneType)


def kind_of(hint: Any) -> Kind | None:  # noqa: ANN401 - a type may be written as anything
    """Return what a type's values look like and their reader; None for a type with parts."""
    args = get_args(hint)
    if get_origin(hint) is Annotated:
        scale = args[1]
        is_scale = isinstance(scale, Scale)
        return (scale.name, partial(scale.read, args[0])) if is_scale else kind_of(args[0])
    if (members := arms(hint)) != (hint,):
        kinds = [kind for arm in members if (kind := kind_of(arm))]
        name = " or ".join(dict.fromkeys(name for name, _ in kinds))
        reader = partial(_any, [reader for _, reader in kinds])
        return (name, reader) if len(kinds) == len(members) else None
    words: Mapping[Any, Any]
    if get_origin(hint) is Literal:
        words = {word: word for word in args}
    elif isinstance(hint, type) and issubclass(hint, Enum):
        words = {member.value: member for member in hint}
    else:
        return _KINDS.get(hint)
    return f"one of {', '.join(map(quoted, words))}", partial(_word, words)


def _holds_secrets(hint: object) -> bool:
    return hint is Secret or any(map(_holds_secrets, get_args(hint)))


def _exactly(cls: Callable[[Any], T], *also: type) -> Callable[[object], T]:
    """Return a reader of values of one type, and of those of `also`, which convert to it."""

    def read_one(value: object) -> T:
        # The environment knows strings only: a number there is what looks like one.
        if type(value) not in (cls, Referenced, *also):
            raise TypeError
        return cls(value)

    return read_one


_string: Final = _exactly(str)


def _boolean(value: object) -> bool:
    if isinstance(value, Referenced):
        return {"true": True, "false": False}[value]
    return _exactly(bool)(value)


def _secret(value: object) -> Secret:
    if not _string(value):
        raise ConfigurationError("is empty: an empty secret would match an empty request")
    return Secret(_string(value))


def _path(value: object) -> Path:
    path = Path(_string(value))
    if not value or "\0" in str(path):
        raise ValueError
    if any(len(os.fsencode(part)) > _NAME_MAX for part in path.parts):
        raise ConfigurationError(f"a name in it has more than {_NAME_MAX} bytes")
    return path


def _network(cls: type[Network], value: object) -> Network:
    network = cls(_string(value), strict=False)
    try:
        return cls(_string(value))
    except ValueError:
        told = mismatch(value, "a network without an address in it")
        meant = "" if isinstance(value, Referenced) else f'; did you mean "{network}"?'
        raise ConfigurationError(told + meant) from None


def _word(words: Mapping[Any, Any], value: object) -> object:
    for word, meaning in words.items():
        if type(value) in (type(word), Referenced) and value == word:
            return meaning
    if type(value) is str:
        raise ConfigurationError(unknown("word", value, map(str, words)))
    raise ValueError


def _any(readers: Sequence[Callable[[object], object]], value: object) -> object:
    for read_one in readers:
        try:
            return read_one(value)
        except (ValueError, TypeError, LookupError):
            continue
    raise ValueError


_KINDS: Final[Mapping[object, Kind]] = {
    bool: ("true or false", _boolean),
    int: ("an integer", _exactly(int)),
    float: ("a number", _exactly(float, int)),
    str: ("a string", _string),
    Secret: ("a string", _secret),
    Path: ("a path", _path),
    IPv4Network: ('an IPv4 network such as "10.0.0.0/8"', partial(_network, IPv4Network)),
    IPv6Network: ('an IPv6 network such as "2001:db8::/32"', partial(_network, IPv6Network)),
}
