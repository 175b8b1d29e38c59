"""Plain values to attrs classes, with every misfit told in the words of who wrote the values.

What the settings may hold: nested attrs classes, arrays and tables, strings, numbers, booleans,
words (`Literal` and `Enum`), networks, paths, secrets, durations and sizes, and unions of them.
Nothing is converted that was not meant: a boolean is no integer and a number no string.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from fractions import Fraction
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    TypeAlias,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

import attrs
from cattrs import Converter
from cattrs.cols import list_structure_factory, mapping_structure_factory
from cattrs.errors import IterableValidationError, IterableValidationNote
from cattrs.gen import make_dict_structure_fn, override

from bridge.adapter.signing import Secret
from bridge.errors import ConfigurationError
from bridge.settings.references import Referenced
from bridge.settings.wording import mismatch, quoted, unknown

T = TypeVar("T")
Hook: TypeAlias = Callable[[Any, Any], Any]


@attrs.frozen(kw_only=True, eq=False)
class Scale:
    """How a quantity may be written: as a number of its smallest unit, or with a unit behind it."""

    name: str
    units: Mapping[str, Fraction]
    is_whole: bool


Duration: TypeAlias = Annotated[
    float,
    Scale(
        name='a duration in seconds, or one such as "500ms", "30s", "5m", "12h", "8d"',
        units={
            "ms": Fraction(1, 1000),
            "s": Fraction(1),
            "m": Fraction(60),
            "h": Fraction(3600),
            "d": Fraction(86400),
        },
        is_whole=False,
    ),
]
"""Seconds; in a document also a string with a unit."""

Size: TypeAlias = Annotated[
    int,
    Scale(
        name='a size in bytes, or one such as "512kB", "64KiB", "4MiB", "1GiB"',
        units={
            "B": Fraction(1),
            "kB": Fraction(10**3),
            "MB": Fraction(10**6),
            "GB": Fraction(10**9),
            "TB": Fraction(10**12),
            "KiB": Fraction(2**10),
            "MiB": Fraction(2**20),
            "GiB": Fraction(2**30),
            "TiB": Fraction(2**40),
        },
        is_whole=True,
    ),
]
"""Bytes; in a document also a string with a unit."""

_MAX_DIGITS: Final = 30
_NETWORK_NAME: Final = 'a network such as "10.0.0.0/8" or "2001:db8::/32"'
_NAMES: Final[Mapping[object, str]] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
    Secret: "a string",
    Path: "a path",
    IPv4Network: 'a network such as "10.0.0.0/8"',
    IPv6Network: 'a network such as "2001:db8::/32"',
}


def structure(table: dict[str, Any], cls: type[T]) -> T:
    """Make an instance of an attrs class.

    Raises the errors of cattrs, whose leaves are `ConfigurationError` for a misfit, `KeyError`
    for what is missing, and whatever the class's own checks raise;
    `bridge.settings.reader` turns them into problems.
    """
    return _CONVERTER.structure(table, cls)


def seconds(text: str) -> float | None:
    """Return a duration that is written as in a document, such as "90s" or "1h", or None."""
    (scale,) = get_args(Duration)[1:]
    value = _with_unit(text, scale)
    return None if value is None else float(value)


def expectation(hint: object) -> str:
    """Say what a type's values look like in a document."""
    if scale := _scale(hint):
        return scale.name
    if hint in _NAMES:
        return _NAMES[hint]
    if words := _words(hint):
        return f"one of {', '.join(map(quoted, words))}"
    if _is_network(hint):
        return _NETWORK_NAME
    if _is_union(hint):
        arms = (expectation(arm) for arm in get_args(hint) if arm is not NoneType)
        return " or ".join(dict.fromkeys(arms))
    if get_origin(hint) in _ARRAYS:
        return f"an array, each item {expectation(get_args(hint)[0])}"
    return "a table"


# --- kinds of types ----------------------------------------------------------------------

_ARRAYS: Final[Mapping[object, Callable[[list[Any]], Any]]] = {
    tuple: tuple,
    Sequence: tuple,
    list: list,
    frozenset: frozenset,
}
_TABLES: Final[tuple[object, ...]] = (dict, Mapping)


def _scale(hint: object) -> Scale | None:
    if get_origin(hint) is not Annotated:
        return None
    return next((item for item in get_args(hint) if isinstance(item, Scale)), None)


def _words(hint: object) -> tuple[Any, ...]:
    if get_origin(hint) is Literal:
        return get_args(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return tuple(member.value for member in hint)
    return ()


def _is_union(hint: object) -> bool:
    return get_origin(hint) in (Union, UnionType)


def _is_mixed_union(hint: object) -> bool:
    """Tell the unions that are ours to read: cattrs knows `X | None`, and unions of classes."""
    arms = [arm for arm in get_args(hint) if arm is not NoneType]
    return _is_union(hint) and len(arms) > 1 and not all(attrs.has(arm) for arm in arms)


def _is_network(hint: object) -> bool:
    """Tell a network of either version."""
    return _is_union(hint) and set(get_args(hint)) - {NoneType} == {IPv4Network, IPv6Network}


def _is_array(hint: object) -> bool:
    return get_origin(hint) in _ARRAYS and (
        get_origin(hint) is not tuple or get_args(hint)[1:] == (...,)
    )


def _holds_secrets(hint: object) -> bool:
    return hint is Secret or any(_holds_secrets(inner) for inner in get_args(hint))


# --- how each is read --------------------------------------------------------------------


def _misfit(value: object, hint: object) -> ConfigurationError:
    return ConfigurationError(
        mismatch(value, expectation(hint), is_secret=_holds_secrets(hint)),
    )


def _read_scalar(value: object, hint: Any) -> Any:  # noqa: ANN401 - one of several types
    # cattrs asks here for subclasses too: a word of a StrEnum is a string to it.
    if _words(hint):
        return _read_word(value, hint)
    if type(value) is hint:
        return value
    if hint is float and type(value) is int:
        return _number(value, hint)
    if isinstance(value, Referenced):
        # The environment knows strings only: there, a number is what looks like one.
        if hint is str:
            return str(value)
        if hint is not bool:
            return _number(value, hint)
        if value in {"true", "false"}:
            return value == "true"
    raise _misfit(value, hint)


def _number(value: Any, hint: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - as `hint` says
    try:
        return hint(value)
    except (ValueError, OverflowError):
        raise _misfit(value, hint) from None


def _read_word(value: object, hint: Any) -> Any:  # noqa: ANN401 - a member, or the word itself
    for word in _words(hint):
        if type(value) in (type(word), Referenced) and value == word:
            return hint(word) if isinstance(hint, type) else word
    if type(value) is str:
        raise ConfigurationError(unknown("word", value, map(str, _words(hint))))
    raise _misfit(value, hint)


def _read_secret(value: object, hint: object) -> Secret:
    if not isinstance(value, str):
        raise _misfit(value, hint)
    if not value:
        raise ConfigurationError("is empty, and an empty secret keeps nobody out")
    return Secret(str(value))


def _read_path(value: object, hint: object) -> Path:
    if not isinstance(value, str) or not value:
        raise _misfit(value, hint)
    return Path(value)


def _read_network(value: object, hint: object) -> IPv4Network | IPv6Network:
    if not isinstance(value, str):
        raise _misfit(value, hint)
    try:
        network = ip_network(value, strict=False)
    except ValueError:
        raise _misfit(value, hint) from None
    if type(network) not in (get_args(hint) or (hint,)):
        raise _misfit(value, hint)
    try:
        return ip_network(value)
    except ValueError:
        told = mismatch(value, "a network without an address in it")
        if not isinstance(value, Referenced):
            told += f'; did you mean "{network}"?'
        raise ConfigurationError(told) from None


def _read_quantity(value: object, hint: object) -> float:
    scale = _scale(hint)
    assert scale is not None  # noqa: S101 - the converter asks here for nothing else
    quantity: Fraction | None = None
    if isinstance(value, str):
        quantity = _with_unit(value, scale)
    elif type(value) is int or (type(value) is float and math.isfinite(value)):
        quantity = Fraction(value)
    if quantity is None or quantity < 0 or (scale.is_whole and quantity.denominator != 1):
        raise _misfit(value, hint)
    try:
        return int(quantity) if scale.is_whole else float(quantity)
    except OverflowError:
        raise _misfit(value, hint) from None


def _with_unit(text: str, scale: Scale) -> Fraction | None:
    amount = text.rstrip("".join(scale.units))
    factor = scale.units.get(text[len(amount) :]) if len(amount) < len(text) else Fraction(1)
    amount = amount.rstrip(" ")
    digits = amount.replace(".", "", 1)
    if factor is None or len(digits) > _MAX_DIGITS or not (digits.isascii() and digits.isdigit()):
        return None
    return Fraction(amount) * factor


def _array_hook(hint: Any, converter: Converter) -> Hook:  # noqa: ANN401 - cattrs's signature
    read_items = list_structure_factory(hint, converter)
    collect = _ARRAYS[get_origin(hint)]

    def read(value: object, _: object) -> Any:  # noqa: ANN401 - as `hint` says
        if not isinstance(value, list):
            raise _misfit(value, hint)
        faults = _repeated_ids(value)
        try:
            items = read_items(value, hint)
        except IterableValidationError as error:
            faults += error.exceptions
        if faults:
            raise IterableValidationError("items do not fit", faults, hint)
        return collect(items)

    return read


def _repeated_ids(items: list[Any]) -> list[Exception]:
    """Return a fault for each table in an array whose `id` an earlier one has."""
    seen: dict[object, int] = {}
    faults: list[Exception] = []
    for index, item in enumerate(items):
        name = item.get("id") if isinstance(item, dict) else None
        if not isinstance(name, str | int):
            continue
        first = seen.setdefault(name, index)
        if first != index:
            fault = ConfigurationError(f"has the same id as the item [{first}] before it")
            fault.add_note(IterableValidationNote("", index, None))
            faults.append(fault)
    return faults


def _table_hook(hint: Any, converter: Converter) -> Hook:  # noqa: ANN401 - cattrs's signature
    read_values = mapping_structure_factory(hint, converter)

    def read(value: object, _: object) -> Any:  # noqa: ANN401 - as `hint` says
        if not isinstance(value, dict):
            raise _misfit(value, hint)
        return read_values(value, hint)

    return read


def _union_hook(hint: Any, converter: Converter) -> Hook:  # noqa: ANN401 - cattrs's signature
    arms = [arm for arm in get_args(hint) if arm is not NoneType]

    def read(value: object, _: object) -> Any:  # noqa: ANN401 - as `hint` says
        # An integer is a number too: the arm that fits exactly is asked first.
        for arm in sorted(arms, key=lambda arm: type(value) is not arm):
            try:
                return converter.structure(value, arm)
            except ConfigurationError:
                continue
        raise _misfit(value, hint)

    return read


def _class_hook(cls: type[Any], converter: Converter) -> Hook:
    options: dict[str, Any] = {
        field.name: override(struct_hook=_checked(cls, field, converter))
        for field in attrs.fields(cls)
        if field.init and field.validator is not None and field.converter is None
    }
    options |= {"_cattrs_forbid_extra_keys": True, "_cattrs_use_alias": True}
    read_fields = make_dict_structure_fn(cls, converter, **options)

    def read(value: Any, _: object) -> Any:  # noqa: ANN401 - an instance of `cls`
        if not isinstance(value, dict):
            raise _misfit(value, cls)
        return read_fields(value, cls)

    return read


def _checked(cls: type[Any], field: attrs.Attribute[Any], converter: Converter) -> Hook:
    """Validate a field as it is read: left to the class, one refusal would hide the next."""
    check = field.validator
    assert check is not None  # noqa: S101 - only fields with a validator come here

    def read(value: object, hint: Any) -> Any:  # noqa: ANN401 - as `hint` says
        result = converter.structure(value, hint)
        try:
            check(object.__new__(cls), field, result)
        except AttributeError:
            pass  # it looks at other fields: the class asks again when all are known
        except KeyError as error:
            raise ConfigurationError(f"its check failed with {type(error).__name__}") from None
        return result

    return read


def _converter() -> Converter:
    converter = Converter(detailed_validation=True)
    for cls in (bool, int, float, str):
        converter.register_structure_hook(cls, _read_scalar)
    converter.register_structure_hook(Secret, _read_secret)
    converter.register_structure_hook(Path, _read_path)
    converter.register_structure_hook(IPv4Network, _read_network)
    converter.register_structure_hook(IPv6Network, _read_network)
    converter.register_structure_hook_func(lambda hint: bool(_words(hint)), _read_word)
    converter.register_structure_hook_func(lambda hint: bool(_scale(hint)), _read_quantity)
    converter.register_structure_hook_factory(attrs.has, _class_hook)
    converter.register_structure_hook_factory(_is_array, _array_hook)
    converter.register_structure_hook_factory(lambda hint: get_origin(hint) in _TABLES, _table_hook)
    converter.register_structure_hook_factory(_is_mixed_union, _union_hook)
    converter.register_structure_hook_func(_is_network, _read_network)
    return converter


_CONVERTER: Final = _converter()
