"""Plain values to attrs classes, with errors in the terms of TOML.

Settings may hold attrs classes, arrays and tables, strings, numbers, booleans, words (`Literal`
and `Enum`), networks, paths, secrets, durations and sizes, and unions of them. No value is
converted silently: a boolean is no integer, and a number no string.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from fractions import Fraction
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar, Union, get_args, get_origin

import attrs
from cattrs import Converter
from cattrs.cols import list_structure_factory, mapping_structure_factory
from cattrs.errors import (
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    StructureHandlerNotFoundError,
)
from cattrs.gen import make_dict_structure_fn, override

from bridge.adapter.signing import Network, Secret
from bridge.errors import BridgeError, ConfigurationError
from bridge.settings import toml
from bridge.settings.references import Referenced
from bridge.settings.wording import mismatch, quoted, unknown

T = TypeVar("T")
Hook: TypeAlias = Callable[[Any, Any], Any]

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


def structure(table: object, cls: type[T]) -> T:
    """Make an instance of an attrs class. `faults` explains whatever this raises."""
    try:
        return _CONVERTER.structure(table, cls)
    except (StructureHandlerNotFoundError, NameError, TypeError) as error:
        told = f"{cls.__qualname__} has fields that no settings can be: {error}"
        raise ConfigurationError(told) from None


def faults(
    error: Exception, path: toml.Path, beside: Sequence[str] = ()
) -> Iterator[tuple[toml.Path, str, str]]:
    """Yield every mistake that an error of `structure` holds.

    Each has the path of a value, what is wrong, and the key below that value if the value's own
    class names one. `beside` are keys that the same table may hold for other classes.
    """
    if isinstance(error, ClassValidationError):
        fields = attrs.fields_dict(error.cl)
        noted, others = error.group_exceptions()
        for inner, note in noted:
            below = (*path, fields[note.name].alias or note.name)
            if isinstance(inner, KeyError):  # from cattrs: our own hooks raise none
                yield below, f"is required: {_expected(note.type)}", ""
            else:
                yield from faults(inner, below)
        for inner in others:
            yield from faults(inner, path, beside)
    elif isinstance(error, IterableValidationError):
        for inner, item in error.group_exceptions()[0]:
            yield from faults(inner, (*path, item.index))
    elif isinstance(error, ForbiddenExtraKeysError):
        allowed = [field.alias or field.name for field in attrs.fields(error.cl) if field.init]
        for key in error.extra_fields:
            yield (*path, key), unknown("key", key, (*allowed, *beside)), ""
    elif isinstance(error, ConfigurationError):
        for problem in error.problems:
            yield path, problem.message, problem.key
    elif isinstance(error, ValueError | TypeError | BridgeError) and error.args:
        message = str(error.args[0])
        if isinstance(error.args[-1], str):  # attrs puts the value behind the message
            message = message.replace(error.args[-1], "********") if error.args[1:] else message
        yield path, message, ""
    else:
        yield path, f"its check failed with {type(error).__name__}", ""


# --- values without parts ----------------------------------------------------------------
#
# A reader raises `ValueError`, `TypeError` or `LookupError` for what is not of its type.


def _exactly(cls: Callable[[Any], T], *also: type) -> Callable[[object], T]:
    """Return a reader of values of one type, and of those of `also`, which convert to it."""

    def read(value: object) -> T:
        # The environment knows strings only: a number there is what looks like one.
        if type(value) not in (cls, Referenced, *also):
            raise TypeError
        return cls(value)

    return read


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
    if not value:
        raise ValueError
    return Path(_string(value))


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
    for read in readers:
        try:
            return read(value)
        except (ValueError, TypeError, LookupError):
            continue
    raise ValueError


_KINDS: Final[Mapping[object, tuple[str, Callable[[object], object]]]] = {
    bool: ("true or false", _boolean),
    int: ("an integer", _exactly(int)),
    float: ("a number", _exactly(float, int)),
    str: ("a string", _string),
    Secret: ("a string", _secret),
    Path: ("a path", _path),
    IPv4Network: ('an IPv4 network such as "10.0.0.0/8"', partial(_network, IPv4Network)),
    IPv6Network: ('an IPv6 network such as "2001:db8::/32"', partial(_network, IPv6Network)),
}


def _kind(hint: Any) -> tuple[str, Callable[[object], object]] | None:  # noqa: ANN401
    """Return what a type's values look like, and their reader; None for a type with parts."""
    arms = [arm for arm in get_args(hint) if arm is not NoneType]
    words: Mapping[Any, Any]
    if get_origin(hint) is Annotated and isinstance(arms[1], Scale):
        return arms[1].name, partial(arms[1].read, arms[0])
    if get_origin(hint) in (Union, UnionType):
        kinds = [kind for arm in arms if (kind := _kind(arm))]
        name = " or ".join(dict.fromkeys(name for name, _ in kinds))
        reader = partial(_any, [reader for _, reader in kinds])
        return (name, reader) if len(kinds) == len(arms) else None
    if get_origin(hint) is Literal:
        words = {word: word for word in arms}
    elif isinstance(hint, type) and issubclass(hint, Enum):
        words = {member.value: member for member in hint}
    else:
        return _KINDS.get(hint)
    return f"one of {', '.join(map(quoted, words))}", partial(_word, words)


# --- hooks -------------------------------------------------------------------------------


def _expected(hint: object) -> str:
    if kind := _kind(hint):
        return kind[0]
    is_array = get_origin(hint) in _ARRAYS
    return f"an array, each item {_expected(get_args(hint)[0])}" if is_array else "a table"


def _misfit(value: object, hint: object) -> ConfigurationError:
    return ConfigurationError(mismatch(value, _expected(hint), is_secret=_holds_secrets(hint)))


def _holds_secrets(hint: object) -> bool:
    return hint is Secret or any(_holds_secrets(inner) for inner in get_args(hint))


def _read(value: object, hint: object) -> object:
    _, reader = _kind(hint) or ("", _string)
    try:
        return reader(value)
    except (ValueError, TypeError, LookupError, OverflowError):
        raise _misfit(value, hint) from None


def _only(cls: type, read: Hook) -> Hook:
    """Refuse what is not of the class: cattrs would iterate over the letters of a string."""

    def checked(value: object, hint: object) -> object:
        if not isinstance(value, cls):
            raise _misfit(value, hint)
        return read(value, hint)

    return checked


_ARRAYS: Final[tuple[object, ...]] = (tuple, list, frozenset, Sequence)
_TABLES: Final[tuple[object, ...]] = (dict, Mapping)


def _is_array(hint: object) -> bool:
    return get_origin(hint) in _ARRAYS and get_args(hint)[1:] in ((), (...,))


def _array_hook(hint: Any, converter: Converter) -> Hook:  # noqa: ANN401 - cattrs's signature
    read_items = list_structure_factory(hint, converter)
    collect: Callable[[Any], Any] = tuple if get_origin(hint) is Sequence else get_origin(hint)
    read = _only(list, lambda value, hint: collect(read_items(value, hint)))
    item = get_args(hint)[0]

    def read_word_or_array(value: object, hint: object) -> object:
        if isinstance(value, str):  # a single word or secret needs no brackets
            return collect((converter.structure(value, item),))
        return read(value, hint)

    return read_word_or_array if item is Secret or get_origin(item) is Literal else read


def _table_hook(hint: Any, converter: Converter) -> Hook:  # noqa: ANN401 - cattrs's signature
    return _only(dict, mapping_structure_factory(hint, converter))


def _class_hook(cls: type[Any], converter: Converter) -> Hook:
    checks: dict[str, Any] = {
        field.name: override(struct_hook=_checked(cls, field, converter))
        for field in attrs.fields(cls)
        if field.init and field.validator is not None and field.converter is None
    }
    return _only(dict, make_dict_structure_fn(cls, converter, **checks))


def _checked(cls: type[Any], field: attrs.Attribute[Any], converter: Converter) -> Hook:
    """Validate a field as it is read: the class itself would stop at the first refusal."""

    def read(value: object, hint: Any) -> object:  # noqa: ANN401 - as the class says
        result = converter.structure(value, hint)
        try:
            field.validator(object.__new__(cls), field, result)  # type: ignore[misc]
        except AttributeError:
            pass  # it looks at other fields: the class asks again when all are known
        except KeyError:
            raise ConfigurationError("its check failed with KeyError") from None
        return result

    return read


_CONVERTER: Final = Converter(detailed_validation=True, forbid_extra_keys=True, use_alias=True)
for _cls in _KINDS:  # for some of them cattrs has hooks of its own, which it would ask first
    _CONVERTER.register_structure_hook(_cls, _read)
_CONVERTER.register_structure_hook_func(lambda hint: _kind(hint) is not None, _read)
_CONVERTER.register_structure_hook_factory(attrs.has)(_class_hook)
_CONVERTER.register_structure_hook_factory(_is_array)(_array_hook)
_CONVERTER.register_structure_hook_factory(lambda hint: get_origin(hint) in _TABLES)(_table_hook)
