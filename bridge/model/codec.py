"""The one place that spells our own JSON: events to bytes and back.

The words are the model's field names in the model's order, save that `kind` stands first, to
tell the class, and `raw` last, since it is long. Nulls are left out, times are RFC 3339 with
`Z`, decimals are strings; `decode(encode(event)) == event`. A journal that only we read may keep
the brief form, which leaves out what is as its field's default too; so no default ever changes.
The writers are here; `reading` has the readers, which read both forms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import partial
from typing import Any, Final, TypeAlias, final, get_type_hints

import attrs
import orjson
from cattrs import transform_error
from cattrs.errors import BaseValidationError

from bridge.errors import CodecError
from bridge.model import (
    CONTENT_CLASSES,
    EVENT_CLASSES,
    Content,
    ContentT_co,
    ConversationKind,
    Event,
    Forwarded,
    JsonValue,
    Role,
)
from bridge.model.frozen import stored
from bridge.model.hints import PUBLIC, Hint, is_optional, present, when_used
from bridge.model.reading import READ, READ_CONTENT, READ_THOROUGHLY, Misfit

_Write: TypeAlias = Callable[[Any], Any]

_MAX_PROBLEMS: Final = 5
_OPTIONS: Final = orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC
_LINE: Final = _OPTIONS | orjson.OPT_APPEND_NEWLINE


def encode(event: Event) -> bytes:
    """Write an event as one line of JSON in UTF-8, without a line break at the end.

    Raises `CodecError` where the event holds what its annotations or JSON do not allow (an
    adapter's fault).
    """
    return _encoded(event, _FULL.plain)


def encode_brief(event: Event) -> bytes:
    """Write an event as `encode` does, and leave out what is as its field's default."""
    return _encoded(event, _BRIEF.plain)


def _encoded(event: Event, plain: _Write) -> bytes:
    try:
        # What orjson returns takes 4 KB or 8: a copy takes what it needs, and the next event is
        # written where this one was, which is in the processor's cache.
        return orjson.dumps(plain(event), default=plain, option=_LINE)[:-1]
    except orjson.JSONEncodeError as error:
        raise CodecError(f"the event does not fit into JSON: {error}") from error
    except Exception as error:  # a field, which may hold anything
        reason = f"not a valid {type(event).__name__}"
        raise CodecError(f"the event does not fit into JSON: {reason}") from error


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
        event: Event = READ(value, Event)
    except RecursionError:
        raise CodecError("not an event: it nests too deep") from None
    except (Misfit, KeyError):
        raise CodecError(f"not an event: {'; '.join(_problems(value))}") from None
    return event


def content_from_dict(value: JsonValue) -> Content:
    """Read a message's content from plain JSON values. Raises `CodecError`, like `decode`."""
    try:
        content: Content = READ_CONTENT(value, Content)
    except (Misfit, BaseValidationError, KeyError, RecursionError) as error:
        problems = transform_error(error, "content", _description)
        raise CodecError(f"not a content: {'; '.join(problems[:_MAX_PROBLEMS])}") from None
    return content


def content_to_dict(content: Content) -> dict[str, JsonValue]:
    """Return a message's content as plain JSON values. Raises `CodecError`, like `encode`."""
    try:
        result: dict[str, JsonValue] = orjson.loads(
            orjson.dumps(content, default=_FULL.plain, option=_OPTIONS)
        )
    except orjson.JSONEncodeError as error:
        raise CodecError(f"the content does not fit into JSON: {error}") from error
    return result


def _problems(value: JsonValue) -> list[str]:
    # The quick reader stops at the first fault and does not know where it stood; the thorough
    # one collects all of them with their paths, and is too slow for what is sound.
    problems: list[str] = []
    try:
        READ_THOROUGHLY(value, Event)
    except (Misfit, BaseValidationError) as error:
        problems = transform_error(error, "event", _description)
    return problems[:_MAX_PROBLEMS]


def _description(error: BaseException, _: object) -> str:
    return "missing" if isinstance(error, KeyError) else str(error)


# --- events to plain values --------------------------------------------------------------


def _writer(cls: type[attrs.AttrsInstance], form: _Form) -> _Write:
    """Return a function that makes a dict of an instance's fields, in the order of our JSON.

    It is compiled for the class, as attrs and cattrs do with theirs: a loop over the names takes
    twice as long. cattrs' own function writes the fields without a default first. A value that is
    not of its field's class is left to orjson, which refuses most of them.
    """
    names: dict[str, Any] = {"UTC": UTC, "in_utc": _in_utc, "finite": _finite, "of": form.writers}
    lines = _lines(cls, "value", "result", names, is_brief=form.is_brief)
    exec("\n    ".join(["def write(value):", *lines, "return result"]), names)  # noqa: S102 - made of nothing but our own field names
    write: _Write = names["write"]
    return write


def _lines(
    cls: type[attrs.AttrsInstance],
    value: str,
    result: str,
    names: dict[str, Any],
    *,
    is_brief: bool,
) -> Sequence[str]:
    """Return the lines that make the dict `result` of an instance; add what they name.

    What an event always has is written in place: a call for each takes a fifth of the whole.
    """
    hints = get_type_hints(cls)
    lines: list[str] = []
    first = [f"'kind': {cls.kind!r}"] if cls in _TAGGED else []
    for field in sorted(attrs.fields(cls), key=lambda field: field.name == "raw"):
        name, hint = field.name, hints[field.name]
        access = f"{value}.{name}"
        if (read := stored(cls, name)) is not None:
            names[f"read_{name}"], access = read, f"read_{name}({value})"
        wanted = present(hint) if is_optional(hint) else hint
        if field.default is None or (is_brief and type(field.default) in _SINGLE):
            default = "None" if field.default is None else f"default_{cls.__name__}_{name}"
            names[default] = field.default
            plain = _plain_form(wanted, access, names)  # of few: most are looked at and no more
            lines.append(f"if {access} is not {default}: {result}[{name!r}] = {plain}")
            continue
        if value == "value" and attrs.has(wanted):
            names[wanted.__name__] = wanted
            inner = _lines(wanted, "part", "inner", names, is_brief=is_brief)
            lines += (
                f"if type(part := {access}) is {wanted.__name__}:",
                *(f"    {line}" for line in inner),
                "    part = inner",
                f"{result}[{name!r}] = part",
            )
            continue
        plain = _plain_form(wanted, access, names)
        if not lines:
            first.append(f"{name!r}: {plain}")  # with others at once, in half the time
        else:
            lines.append(f"{result}[{name!r}] = {plain}")
    return [f"{result} = {{{', '.join(first)}}}", *lines]


def _plain_form(hint: Hint, value: str, names: dict[str, Any]) -> str:
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


@final
class _Form:
    """How events are written: in full, or briefly."""

    def __init__(self, *, is_brief: bool) -> None:
        self.is_brief = is_brief
        self.writers: dict[type, _Write] = {Decimal: str}
        for cls in PUBLIC:
            if attrs.has(cls) and cls is not Event:
                when_used(self.writers, cls, partial(_writer, cls, self))

    def plain(self, value: object) -> object:
        """Turn what orjson does not know into what it knows; it comes back for what that holds."""
        return self.writers[type(value)](value)


_TAGGED: Final = frozenset((*EVENT_CLASSES, *CONTENT_CLASSES))
_SINGLE: Final = (bool, tuple, Forwarded, Role, ConversationKind)
"""Of each value of these classes that is a default there is only one object."""
_FULL: Final = _Form(is_brief=False)
_BRIEF: Final = _Form(is_brief=True)
