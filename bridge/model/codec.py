"""The one place that spells our own JSON: events to bytes and back.

The words are the model's field names in the model's order, save that `kind` stands first, to
tell the class, and `raw` last, since it is long. Nulls are left out, times are RFC 3339 with
`Z`, decimals are strings; `decode(encode(event)) == event`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import partial
from types import NoneType
from typing import Any, Final, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

import attrs
import orjson
from cattrs import Converter, transform_error
from cattrs.cols import list_structure_factory
from cattrs.errors import BaseValidationError
from cattrs.gen import make_dict_structure_fn

from bridge import model
from bridge.errors import CodecError
from bridge.model import CONTENT_CLASSES, EVENT_CLASSES, Content, ContentT_co, Event, JsonValue
from bridge.model.frozen import draft_of, stored

_Hint: TypeAlias = Any
"""What an annotation may be: a class, a union, a generic alias."""

K = TypeVar("K")

_Write: TypeAlias = Callable[[Any], Any]
_Read: TypeAlias = Callable[[Any, _Hint], Any]

_MAX_PROBLEMS: Final = 5
_NO_INSTANT: Final = "expected a time in RFC 3339"
_FLOAT_MAX: Final = sys.float_info.max
_OPTIONS: Final = orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC
_JSON: Final = get_type_hints(Event)["raw"]


def encode(event: Event) -> bytes:
    """Write an event as one line of JSON in UTF-8, without a line break at the end.

    Raises `CodecError` where the event holds what its annotations or JSON do not allow (an
    adapter's fault).
    """
    try:
        return orjson.dumps(event, default=_plain, option=_OPTIONS)
    except orjson.JSONEncodeError as error:
        raise CodecError(f"the event does not fit into JSON: {error}") from error


def decode(data: bytes | str) -> Event:
    """Read an event that `encode` wrote.

    Raises `CodecError`, which says what is wrong and where, and quotes nothing.
    """
    try:
        value: JsonValue = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise CodecError(f"not JSON: {error.msg} ({place})") from None  # it carries the document
    return from_dict(value)


def to_dict(event: Event) -> dict[str, JsonValue]:
    """Return an event as plain JSON values. Raises `CodecError`, like `encode`."""
    result: dict[str, JsonValue] = orjson.loads(encode(event))
    return result


def from_dict(value: JsonValue) -> Event:
    """Read an event from plain JSON values. Raises `CodecError`, like `decode`."""
    try:
        event: Event = _READ(value, Event)
    except RecursionError:
        raise CodecError("not an event: it nests too deep") from None
    except (_Misfit, KeyError):
        raise CodecError(f"not an event: {'; '.join(_problems(value))}") from None
    return event


def content_from_dict(value: JsonValue) -> Content:
    """Read a message's content from plain JSON values. Raises `CodecError`, like `decode`."""
    try:
        content: Content = _READ_CONTENT(value, Content)
    except (_Misfit, BaseValidationError, KeyError, RecursionError) as error:
        problems = transform_error(error, "content", _description)
        raise CodecError(f"not a content: {'; '.join(problems[:_MAX_PROBLEMS])}") from None
    return content


def content_to_dict(content: Content) -> dict[str, JsonValue]:
    """Return a message's content as plain JSON values. Raises `CodecError`, like `encode`."""
    try:
        result: dict[str, JsonValue] = orjson.loads(
            orjson.dumps(content, default=_plain, option=_OPTIONS)
        )
    except orjson.JSONEncodeError as error:
        raise CodecError(f"the content does not fit into JSON: {error}") from error
    return result


def _problems(value: JsonValue) -> list[str]:
    # The quick reader stops at the first fault and does not know where it stood; the thorough
    # one collects all of them with their paths, and is too slow for what is sound.
    problems: list[str] = []
    try:
        _READ_THOROUGHLY(value, Event)
    except (_Misfit, BaseValidationError) as error:
        problems = transform_error(error, "event", _description)
    return problems[:_MAX_PROBLEMS]


class _Misfit(Exception):
    """A value is not what its field holds; the text says what would be, and quotes nothing."""


def _description(error: BaseException, _: object) -> str:
    return "missing" if isinstance(error, KeyError) else str(error)


def _when_used(table: dict[K, Callable[..., Any]], key: K, make: Callable[[], Any]) -> None:
    """Put into a table a function that is made at its first call, since few of them are needed."""

    def first(*arguments: object) -> Any:  # noqa: ANN401 - what the function returns
        table[key] = made = make()
        return made(*arguments)

    table[key] = first


# --- annotations -------------------------------------------------------------------------


def _is_optional(hint: _Hint) -> bool:
    choices = get_args(hint)
    return len(choices) == 2 and NoneType in choices  # noqa: PLR2004 - something and None


def _present(hint: _Hint) -> _Hint:
    first, second = get_args(hint)
    return second if first is NoneType else first


def _made_of(origin: object) -> Callable[[_Hint], bool]:
    return lambda hint: get_origin(hint) is origin


# --- events to plain values --------------------------------------------------------------


def _writer(cls: type[attrs.AttrsInstance]) -> _Write:
    """Return a function that makes a dict of an instance's fields, in the order of our JSON.

    It is compiled for the class, as attrs and cattrs do with theirs: a loop over the names takes
    twice as long. cattrs' own function writes the fields without a default first. A value that is
    not of its field's class is left to orjson, which refuses most of them.
    """
    hints = get_type_hints(cls)
    names: dict[str, Any] = {"UTC": UTC, "in_utc": _in_utc, "finite": _finite, "of": _WRITERS}
    source = ["def write(value):"]
    first = [f"'kind': {cls.kind!r}"] if cls in _TAGGED else []
    for field in sorted(attrs.fields(cls), key=lambda field: field.name == "raw"):
        name, hint = field.name, hints[field.name]
        access = f"value.{name}"
        if (read := stored(cls, name)) is not None:
            names[f"read_{name}"], access = read, f"read_{name}(value)"
        wanted = _present(hint) if _is_optional(hint) else hint
        if field.default is None:
            plain = _plain_form(wanted, "item", names)
            source.append(f"    if (item := {access}) is not None: result[{name!r}] = {plain}")
            continue
        plain = _plain_form(wanted, access, names)
        if len(source) == 1:
            first.append(f"{name!r}: {plain}")  # with others at once, in half the time
        else:
            source.append(f"    result[{name!r}] = {plain}")
    source.insert(1, f"    result = {{{', '.join(first)}}}")
    source.append("    return result")
    exec("\n".join(source), names)  # noqa: S102 - made of nothing but our own field names
    write: _Write = names["write"]
    return write


def _plain_form(hint: _Hint, value: str, names: dict[str, Any]) -> str:
    """Return the expression that makes plain what a hint promises; add what it names."""
    if hint is datetime:
        return f"item if (item := {value}).tzinfo is UTC else in_utc(item)"
    if hint is float:
        return f"finite({value})"
    if hint in (Content, ContentT_co):
        return f"of[type(item)](item) if type(item := {value}) in of else item"
    if not isinstance(hint, type):
        return value
    word = hint.__name__
    if issubclass(hint, StrEnum):
        # A member's attributes take longer than comparing it with all others.
        plain, asked = "", f"(item := {value})"
        for number, member in enumerate(hint):
            names[f"{word}_{number}"] = member
            plain += f"{str(member)!r} if {asked} is {word}_{number} else "
            asked = "item"
        return f"{plain}item"
    if attrs.has(hint):
        names[word] = hint
        return f"of[{word}](item) if type(item := {value}) is {word} else item"
    return value


def _in_utc(value: datetime) -> datetime:
    return value if value.tzinfo is None else value.astimezone(UTC)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("not a finite number")  # orjson would write null
    return value


def _plain(value: object) -> object:
    """Turn what orjson does not know into what it knows; it comes back for what that holds."""
    return _WRITERS[type(value)](value)


_PUBLIC: Final = [getattr(model, name) for name in model.__all__]
_TAGGED: Final = frozenset((*EVENT_CLASSES, *CONTENT_CLASSES))
_WRITERS: Final[dict[type, _Write]] = {Decimal: str}
for _cls in _PUBLIC:
    if isinstance(_cls, type) and attrs.has(_cls) and _cls is not Event:
        _when_used(_WRITERS, _cls, partial(_writer, _cls))


# --- plain values to events --------------------------------------------------------------


def _reading(*, thorough: bool) -> tuple[_Read, _Read]:
    """Return what makes an event from plain values, and what makes a content.

    The thorough way knows where it stood.
    """
    converter = Converter(detailed_validation=thorough)

    def read_class(cls: type[attrs.AttrsInstance]) -> _Read:
        if thorough:
            return _from_object(make_dict_structure_fn(cls, converter))
        return _class_reader(cls, converter.get_structure_hook)

    def read_optional(hint: _Hint) -> _Read:
        present = _present(hint)
        return _or_none(converter.get_structure_hook(present), present)

    def read_tuple(hint: _Hint) -> _Read:
        return _from_array(list_structure_factory(hint, converter))

    register = converter.register_structure_hook_func
    converter.register_structure_hook_factory(attrs.has, read_class)
    converter.register_structure_hook_factory(_is_optional, read_optional)
    converter.register_structure_hook_factory(_made_of(tuple), read_tuple)
    for cls, read in _SCALARS.items():
        converter.register_structure_hook(cls, read)
    register(_made_of(dict), _exactly(dict, "an object"))
    register(lambda hint: hint == _JSON, lambda value, _: value)
    contents: dict[str, _Read] = {}
    read_content = _by_kind(contents, "content")
    register(lambda hint: hint in (Content, ContentT_co), read_content)
    events: dict[str, _Read] = {}
    for readers, classes in ((contents, CONTENT_CLASSES), (events, EVENT_CLASSES)):
        for cls in classes:
            _when_used(readers, cls.kind, partial(converter.get_structure_hook, cls))
    return _by_kind(events, "event"), read_content


def _class_reader(cls: type[attrs.AttrsInstance], hook_of: Callable[[_Hint], _Read]) -> _Read:
    """Return a function that makes an instance of an object's fields, compiled for the class.

    It takes half the time of cattrs' own, which calls a function for each field and the class
    with all of them as keywords.
    """
    hints = get_type_hints(cls)
    names: dict[str, Any] = {
        "UTC": UTC,
        "Misfit": _Misfit,
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
        wanted = _present(hint) if _is_optional(hint) and may_be_null else hint
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
    read: _Read = names["read"]
    return read


def _check(hint: _Hint, names: dict[str, Any], hook_of: Callable[[_Hint], _Read]) -> Iterator[str]:
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
    elif hint == _JSON:
        yield "pass"
    else:
        place = f"hook_{len(names)}"
        names[place], names[f"{place}_hint"] = hook_of(hint), hint
        yield f"item = {place}(item, {place}_hint)"


def _by_kind(readers: Mapping[str, _Read], noun: str) -> _Read:
    def read(value: JsonValue, hint: _Hint) -> Any:  # noqa: ANN401 - whatever its reader makes
        if type(value) is not dict:
            raise _Misfit("expected an object")
        kind = value.get("kind")
        reader = readers.get(kind) if type(kind) is str else None
        if reader is None:
            raise _Misfit(f"no {noun} has this kind")
        return reader(value, hint)

    return read


def _from_object(read_fields: _Read) -> _Read:
    def read(value: JsonValue, hint: _Hint) -> Any:  # noqa: ANN401 - whatever its reader makes
        if type(value) is not dict:
            raise _Misfit("expected an object")
        return read_fields(value, hint)

    return read


def _from_array(read_items: _Read) -> _Read:
    def read(value: JsonValue, hint: _Hint) -> tuple[Any, ...]:
        if type(value) is not list:
            raise _Misfit("expected an array")
        return tuple(read_items(value, hint))

    return read


def _or_none(read_present: _Read, present: _Hint) -> _Read:
    def read(value: JsonValue, _: _Hint) -> Any:  # noqa: ANN401 - whatever its reader makes
        return None if value is None else read_present(value, present)

    return read


def _exactly(expected: type, article_and_noun: str) -> _Read:
    def read(value: JsonValue, _: _Hint) -> JsonValue:
        if type(value) is expected:
            return value
        raise _Misfit(f"expected {article_and_noun}")

    return read


def _word(value: JsonValue, enum: type[StrEnum]) -> StrEnum:
    member = _WORDS[enum].get(value) if type(value) is str else None
    if member is None:
        raise _Misfit(f"expected one of {', '.join(enum)}")
    return member


def _float(value: JsonValue, _: _Hint) -> float:
    if (type(value) is float or type(value) is int) and -_FLOAT_MAX <= value <= _FLOAT_MAX:
        return float(value)
    raise _Misfit("expected a number")


def _decimal(value: JsonValue, _: _Hint) -> Decimal:
    if type(value) is str:
        try:
            return Decimal(value)
        except InvalidOperation:
            pass
    raise _Misfit("expected a decimal number in a string")


def _instant(value: JsonValue, _: _Hint) -> datetime:
    if type(value) is str:
        with suppress(ValueError):
            return _at_zero(datetime.fromisoformat(value))
    raise _Misfit(_NO_INSTANT)


def _at_zero(value: datetime) -> datetime:
    """Return an instant in UTC."""
    if value.tzinfo is UTC:
        return value
    if value.tzinfo is not None:
        with suppress(OverflowError):
            return value.astimezone(UTC)
    raise _Misfit(_NO_INSTANT)


_SCALARS: Final[Mapping[type, _Read]] = {
    StrEnum: _word,
    str: _exactly(str, "a string"),
    int: _exactly(int, "a whole number"),
    bool: _exactly(bool, "true or false"),
    float: _float,
    Decimal: _decimal,
    datetime: _instant,
}
_WORDS: Final[Mapping[type, Mapping[str, StrEnum]]] = {
    enum: {member.value: member for member in enum}
    for enum in _PUBLIC
    if isinstance(enum, type) and issubclass(enum, StrEnum)
}


_READ: Final = _reading(thorough=False)[0]
_READ_THOROUGHLY, _READ_CONTENT = _reading(thorough=True)
