"""Read the body of a callback, trusting nothing about it.

Two passes: orjson first; only where it refuses, the tolerant reader of the standard library,
which also accepts what is valid JSON but cannot be represented as it stands (a lone surrogate,
a number beyond a double), and which tells exactly where a body breaks.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn, TypeVar

import attrs
import orjson

from bridge.adapter.build import Scope
from bridge.adapter.contract import Parsed, Verified
from bridge.adapter.payload import INTEGER_MAX, INTEGER_MIN, MAX_DIGITS
from bridge.errors import MalformedBody, Unreadable
from bridge.model import JsonValue

_Kind = TypeVar("_Kind", dict[str, JsonValue], list[JsonValue])

MAX_DEPTH: Final = 200
"""How deep a body may nest: what is deeper could not be written out again with our own JSON."""

_TOO_DEEP: Final = MAX_DEPTH + 1
_ALL_BRACKETS: Final = 2 * MAX_DEPTH  # a body of as many bytes cannot nest deeper
_SHORTEST_OBJECT: Final = len('{"":}')  # around another value
_WRITABLE_DEPTH: Final = 254  # orjson writes as many levels and no more
_OR_LONE_SURROGATE: Final = re.compile(
    r"((?:[^\\]++|\\(?!u[dD][89a-fA-F])."
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})++)"
    r"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}",
    re.DOTALL,
)
"""All of a text up to the next escape of half a character, or else that escape."""
_STRING_OR_CONSTANT: Final = re.compile(
    rb'"[^"\\]*(?:\\.[^"\\]*)*"|(?P<constant>NaN|-?Infinity)', re.DOTALL
)
_JSON_NAMES: Final = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}


def read_body(verified: Verified, source: str, channel: str) -> dict[str, JsonValue] | Parsed:
    """Return the JSON object that a body is, or else what `parse` returns for it.

    A body that is not JSON is malformed; one that nests too deep is kept as its text.
    """
    try:
        return read_object(verified.payload)
    except TooDeep as error:
        scope = Scope(
            source=source,
            channel=channel,
            received_at=verified.received_at,
            body=verified.payload.decode("utf-8", "replace"),
        )
        return Parsed(events=(scope.unrecognized(Unreadable("", error.reason)),))
    except MalformedBody as error:
        return Parsed(malformed=error)


def read_several(
    refused: Parsed, verified: Verified, parse: Callable[[Verified], Parsed]
) -> Parsed:
    """Return what `parse` makes of each object of a body that is an array of them.

    `refused` is what `read_body` returned, and stays where the body is anything else.
    """
    if refused.malformed is None:
        return refused
    try:
        value = _read(verified.payload, list)
    except MalformedBody:
        return refused
    if not value or not all(type(each) is dict for each in value):
        return refused
    found = [parse(attrs.evolve(verified, payload=orjson.dumps(each))) for each in value]
    return Parsed(events=tuple(event for each in found for event in each.events))


class TooDeep(MalformedBody):
    """A body nests deeper than `MAX_DEPTH`: valid, but only its text can be kept."""


def read_object(body: bytes) -> dict[str, JsonValue]:
    """Read a body that must be a JSON object.

    Raises `MalformedBody` with the place where it breaks, or its subclass `TooDeep`.
    A repeated name keeps its last value; a lone surrogate becomes U+FFFD.
    """
    return _read(body, dict)


def _read(body: bytes, kind: type[_Kind]) -> _Kind:
    try:
        value: JsonValue = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = _read_tolerantly(body)
    if type(value) is not kind:
        name = _JSON_NAMES.get(type(value), "a number")
        raise MalformedBody(f"the body is {name}, not a JSON object")
    if len(body) > _ALL_BRACKETS and _may_be_too_deep(body) and not _fits(value):
        raise TooDeep(f"the body nests deeper than {MAX_DEPTH} levels")
    return value


def read_embedded(text: str) -> JsonValue:
    """Read JSON that stands inside a string; return the string itself where it is not JSON."""
    try:
        value: JsonValue = orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return text
    if text.count("[") + text.count("{") > MAX_DEPTH // 2 and not _fits(value, MAX_DEPTH // 2):
        return text
    return value


def _may_be_too_deep(body: bytes) -> bool:
    """Tell by the brackets alone, those inside strings included.

    `bytes.count` looks at every byte, whereas `bytes.replace` leaps from one bracket to the next.
    """
    size = len(body)
    arrays = size - len(body.replace(b"[", b"", _TOO_DEEP))
    if arrays + size // _SHORTEST_OBJECT <= MAX_DEPTH:
        return False
    return arrays + size - len(body.replace(b"{", b"", _TOO_DEEP)) > MAX_DEPTH


def _fits(value: JsonValue, depth: int = MAX_DEPTH) -> bool:
    for _ in range(_WRITABLE_DEPTH - depth):
        value = [value]
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


def _read_tolerantly(body: bytes) -> JsonValue:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Its positions are those of the body without its byte order mark.
        offset = len(body) - len(error.object) + error.start
        raise _malformed("the body is not valid UTF-8", body, offset) from None
    # In the text, as long as before: to walk over all that a body holds would take seconds.
    text = _OR_LONE_SURROGATE.sub(lambda match: match[1] or r"\ufffd", text)
    with suppress(orjson.JSONDecodeError):
        scrubbed: JsonValue = orjson.loads(text)
        return scrubbed
    try:
        value: JsonValue = json.loads(
            text, parse_constant=_refuse_constant, parse_float=_float, parse_int=_integer
        )
    except json.JSONDecodeError as error:
        # The message names the fault and never quotes the body.
        offset = len(text[: error.pos].encode("utf-8", "surrogatepass"))
        offset += len(body) - len(text.encode("utf-8", "surrogatepass"))
        reason = "the body is empty" if not text.strip() else f"not JSON: {error.msg}"
        raise MalformedBody(reason, line=error.lineno, column=error.colno, offset=offset) from None
    except _Constant as error:
        # The reader does not say where; up to here all was JSON, so that strings can be skipped.
        found = next(match for match in _STRING_OR_CONSTANT.finditer(body) if match["constant"])
        raise _malformed(f"not JSON: {error} is not a JSON value", body, found.start()) from None
    except RecursionError:
        raise TooDeep(f"the body nests deeper than {MAX_DEPTH} levels") from None
    return value


def _malformed(reason: str, body: bytes, offset: int) -> MalformedBody:
    before = body[:offset].decode("utf-8-sig")
    line = before.count("\n") + 1
    column = len(before) - before.rfind("\n")
    return MalformedBody(reason, line=line, column=column, offset=offset)


class _Constant(ValueError):
    """NaN or an infinity, which JSON does not have."""


def _refuse_constant(name: str) -> NoReturn:
    raise _Constant(name)


def _float(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


def _integer(text: str) -> int | float | str:
    if len(text) > MAX_DIGITS:
        return text
    number = int(text)
    return number if INTEGER_MIN <= number <= INTEGER_MAX else _float(text)
