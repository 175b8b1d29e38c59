"""From plain values to events: our own JSON, read once and judged as it is read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import partial
from typing import Any, Final, TypeAlias, get_origin, get_type_hints

import attrs
from cattrs import Converter
from cattrs.cols import list_structure_factory
from cattrs.gen import make_dict_structure_fn

from bridge.model import CONTENT_CLASSES, EVENT_CLASSES, Content, ContentT_co, JsonValue
from bridge.model.frozen import draft_of
from bridge.model.hints import JSON, PUBLIC, Hint, is_optional, present, when_used

Read: TypeAlias = Callable[[Any, Hint], Any]

_NO_INSTANT: Final = "expected a time in RFC 3339"
_FLOAT_MAX: Final = sys.float_info.max


class Misfit(Exception):
    """A value is not what its field holds; the text says what would be, and quotes nothing."""


def _made_of(origin: object) -> Callable[[Hint], bool]:
    return lambda hint: get_origin(hint) is origin


def _reading(*, thorough: bool) -> tuple[Read, Read]:
    """Return what makes an event from plain values, and what makes a content.

    The thorough way knows where it stood.
    """
    converter = Converter(detailed_validation=thorough)

    def read_class(cls: type[attrs.AttrsInstance]) -> Read:
        if thorough:
            return _from_object(make_dict_structure_fn(cls, converter))
        return _class_reader(cls, converter.get_structure_hook)

    def read_optional(hint: Hint) -> Read:
        wanted = present(hint)
        return _or_none(converter.get_structure_hook(wanted), wanted)

    def read_tuple(hint: Hint) -> Read:
        return _from_array(list_structure_factory(hint, converter))

    register = converter.register_structure_hook_func
    converter.register_structure_hook_factory(attrs.has, read_class)
    converter.register_structure_hook_factory(is_optional, read_optional)
    converter.register_structure_hook_factory(_made_of(tuple), read_tuple)
    for cls, read in _SCALARS.items():
        converter.register_structure_hook(cls, read)
    register(_made_of(dict), _exactly(dict, "an object"))
    register(lambda hint: hint == JSON, lambda value, _: value)
    contents: dict[str, Read] = {}
    read_content = _by_kind(contents, "content")
    register(lambda hint: hint in (Content, ContentT_co), read_content)
    events: dict[str, Read] = {}
    for readers, classes in ((contents, CONTENT_CLASSES), (events, EVENT_CLASSES)):
        for cls in classes:
            when_used(readers, cls.kind, partial(converter.get_structure_hook, cls))
    return _by_kind(events, "event"), read_content


def _class_reader(cls: type[attrs.AttrsInstance], hook_of: Callable[[Hint], Read]) -> Read:
    """Return a function that makes an instance of an object's fields, compiled for the class.

    It takes half the time of cattrs' own, which calls a function for each field and the class
    with all of them as keywords.
    """
    hints = get_type_hints(cls)
    names: dict[str, Any] = {
        "UTC": UTC,
        "Misfit": Misfit,
        "at_zero": _at_zero,
        "draft": draft_of(cls),
        "from_iso": datetime.fromisoformat,
        "frozen": cls,
    }
    source = ["def read(value, _):", "    if type(value) is not dict: raise Misfit"]
    source.append("    self = draft()")
    for field in attrs.fields(cls):
        name, hint = field.name, hints[field.name]
        may_be_null = field.default is None
        wanted = present(hint) if is_optional(hint) and may_be_null else hint
        lines = [f"item = value[{name!r}]"]
        if may_be_null:
            lines.append("if item is not None:")
        indent = "    " if may_be_null else ""
        lines += [f"{indent}{line}" for line in _check(wanted, names, hook_of)]
        lines.append(f"self.{name} = item")
        if field.default is not attrs.NOTHING:
            # Asked first, as most are absent: that takes less than `get` does.
            names[f"default_{name}"] = field.default
            lines = [
                f"if {name!r} in value:",
                *(f"    {line}" for line in lines),
                f"else: self.{name} = default_{name}",
            ]
        source += [f"    {line}" for line in lines]
    source += ["    self.__class__ = frozen", "    return self"]
    exec("\n".join(source), names)  # noqa: S102 - made of nothing but our own field names
    read: Read = names["read"]
    return read


def _check(hint: Hint, names: dict[str, Any], hook_of: Callable[[Hint], Read]) -> Iterator[str]:
    """Give the lines that make `item` what its hint says, or that raise; add what they name."""
    if hint in (str, int, bool):
        yield f"if type(item) is not {hint.__name__}: raise Misfit"
    elif isinstance(hint, type) and issubclass(hint, StrEnum):
        names[f"words_{hint.__name__}"] = _WORDS[hint]
        yield "if type(item) is not str: raise Misfit"
        yield f"item = words_{hint.__name__}[item]"
    elif hint is datetime:
        yield "if type(item) is not str: raise Misfit"
        yield "try: item = from_iso(item)"
        yield "except ValueError: raise Misfit"
        yield "if item.tzinfo is not UTC: item = at_zero(item)"
    elif hint == JSON:
        yield "pass"
    else:
        place = f"hook_{len(names)}"
        names[place], names[f"{place}_hint"] = hook_of(hint), hint
        yield f"item = {place}(item, {place}_hint)"


def _by_kind(readers: Mapping[str, Read], noun: str) -> Read:
    def read(value: JsonValue, hint: Hint) -> Any:  # noqa: ANN401 - whatever its reader makes
        if type(value) is not dict:
            raise Misfit("expected an object")
        kind = value.get("kind")
        reader = readers.get(kind) if type(kind) is str else None
        if reader is None:
            raise Misfit(f"no {noun} has this kind")
        return reader(value, hint)

    return read


def _from_object(read_fields: Read) -> Read:
    def read(value: JsonValue, hint: Hint) -> Any:  # noqa: ANN401 - whatever its reader makes
        if type(value) is not dict:
            raise Misfit("expected an object")
        return read_fields(value, hint)

    return read


def _from_array(read_items: Read) -> Read:
    def read(value: JsonValue, hint: Hint) -> tuple[Any, ...]:
        if type(value) is not list:
            raise Misfit("expected an array")
        return tuple(read_items(value, hint))

    return read


def _or_none(read: Read, wanted: Hint) -> Read:
    def read_one(value: JsonValue, _: Hint) -> Any:  # noqa: ANN401 - whatever its reader makes
        return None if value is None else read(value, wanted)

    return read_one


def _exactly(expected: type, article_and_noun: str) -> Read:
    def read(value: JsonValue, _: Hint) -> JsonValue:
        if type(value) is expected:
            return value
        raise Misfit(f"expected {article_and_noun}")

    return read


def _word(value: JsonValue, enum: type[StrEnum]) -> StrEnum:
    member = _WORDS[enum].get(value) if type(value) is str else None
    if member is None:
        raise Misfit(f"expected one of {', '.join(enum)}")
    return member


def _float(value: JsonValue, _: Hint) -> float:
    if (type(value) is float or type(value) is int) and -_FLOAT_MAX <= value <= _FLOAT_MAX:
        return float(value)
    raise Misfit("expected a number")


def _decimal(value: JsonValue, _: Hint) -> Decimal:
    if type(value) is str:
        try:
            return Decimal(value)
        except InvalidOperation:
            pass
    raise Misfit("expected a decimal number in a string")


def _instant(value: JsonValue, _: Hint) -> datetime:
    if type(value) is str:
        with suppress(ValueError):
            return _at_zero(datetime.fromisoformat(value))
    raise Misfit(_NO_INSTANT)


def _at_zero(value: datetime) -> datetime:
    """Return an instant in UTC."""
    if value.tzinfo is UTC:
        return value
    if value.tzinfo is not None:
        with suppress(OverflowError):
            return value.astimezone(UTC)
    raise Misfit(_NO_INSTANT)


_SCALARS: Final[Mapping[type, Read]] = {
    StrEnum: _word,
    str: _exactly(str, "a string"),
    int: _exactly(int, "a whole number"),
    bool: _exactly(bool, "true or false"),
    float: _float,
    Decimal: _decimal,
    datetime: _instant,
}
_WORDS: Final[Mapping[type, Mapping[str, StrEnum]]] = {
    enum: {member.value: member for member in enum} for enum in PUBLIC if issubclass(enum, StrEnum)
}


READ: Final = _reading(thorough=False)[0]
READ_THOROUGHLY, READ_CONTENT = _reading(thorough=True)
