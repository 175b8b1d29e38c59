"""Bodies for the laws: any JSON, and real bodies with anything in any of their places.

Needs hypothesis.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from hypothesis import strategies as st

from bridge.model import JsonValue

_Place: TypeAlias = tuple[Any, ...]

_text: Final = st.text(st.characters(codec="utf-8"), max_size=12)
_names: Final = st.text(st.characters(codec="utf-8"), max_size=8)
# Numbers that are none, what a mask leaves of them, JSON inside of strings, half a character.
_tempting: Final = st.sampled_from(
    ["", "0", "+628XXXXXXXXX", "6281519140327", "wamid.A", "{}", '"{}"', "X", "\ud800"]
)

json_values: Final[st.SearchStrategy[Any]] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _text
    | _tempting,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(_names, children, max_size=4),
    max_leaves=12,
)
"""Any value that a JSON text can hold, those included that Python's own types cannot."""

json_objects: Final[st.SearchStrategy[dict[str, Any]]] = st.dictionaries(_names, json_values)
"""Any JSON object."""


@st.composite
def disturbed(draw: st.DrawFn, bodies: Sequence[JsonValue]) -> Any:  # noqa: ANN401 - any JSON
    """Draw a real body, with one to three of its places replaced or removed."""
    body: Any = _copy(draw(st.sampled_from(bodies)))
    for _ in range(draw(st.integers(1, 3))):
        places = _places(body)
        if not places:
            break
        *way, last = draw(st.sampled_from(places))
        parent = _at(body, tuple(way))
        if draw(st.booleans()):
            parent[last] = draw(json_values)
        else:
            del parent[last]
    return body


@st.composite
def marked(draw: st.DrawFn, bodies: Sequence[JsonValue]) -> tuple[Any, dict[str, str]]:
    """Draw a real body with marks in some of its leaves, and in fields that are not known.

    One of its parts may be of another shape: in an object or an array, or the first part of an
    array in the array's place. A mark is a word or a number that stands nowhere else. Returns the
    body with the path of each mark: the names that lead to it, joined by dots.
    """
    body: Any = _copy(draw(st.sampled_from(bodies)))
    names = sorted({name for each in bodies for way in _places(each) for name in _named(way)})
    marks: dict[str, str] = {}

    def new_mark(way: _Place) -> str | int:
        is_word = draw(st.booleans())
        mark = f"mark-{len(marks):04}" if is_word else 990_000_000_000 + len(marks)
        marks[str(mark)] = ".".join(_named(way))
        return mark

    places = _places(body)
    # Before the leaves, which are those of the new shape.
    for way in draw(st.lists(st.sampled_from(places or [()]), max_size=min(1, len(places)))):
        part = _at(body, way)
        if draw(st.booleans()):
            part = new_mark(way)
        shapes: list[Any] = [part, [part], {"a": part}, [None, part]]
        if isinstance(part, list) and part:
            shapes.append(part[0])
        _at(body, way[:-1])[way[-1]] = draw(st.sampled_from(shapes))
    leaves = [
        way
        for way in _places(body)
        if not isinstance(_at(body, way), dict | list) and str(_at(body, way)) not in marks
    ]
    if leaves:
        for way in draw(st.lists(st.sampled_from(leaves), max_size=3, unique=True)):
            _at(body, way[:-1])[way[-1]] = new_mark(way)
    objects = [way for way in ((), *_places(body)) if isinstance(_at(body, way), dict)]
    for way in draw(st.lists(st.sampled_from(objects), max_size=2)):
        name = draw(st.sampled_from(["field_of_tomorrow", *names]))
        if name not in _at(body, way):
            mark = new_mark((*way, name))
            shapes = [mark, [mark], {"a": mark}, [{"a": mark}]]
            _at(body, way)[name] = draw(st.sampled_from(shapes))
    return body, marks


def arrays_in(body: JsonValue) -> list[_Place]:
    """Return the way to each array that has items."""
    return [way for way in _places(body) if isinstance(_at(body, way), list) and _at(body, way)]


def lengthened(body: JsonValue, array: _Place, times: int, *, fits: bool) -> Any:  # noqa: ANN401
    """Return a body with the items of one of its arrays so many times.

    Unless that `fits`, all words in the other arrays are others.
    """
    long = _copy(body)
    for way in () if fits else arrays_in(long):
        if way != array[: len(way)] and array != way[: len(array)]:
            _at(long, way[:-1])[way[-1]] = _with_other_words(_at(long, way))
    _at(long, array[:-1])[array[-1]] = _at(long, array) * times
    return long


def _with_other_words(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        return {name: _with_other_words(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_with_other_words(each) for each in value]
    return f"9{value}" if isinstance(value, str) else value


def _copy(body: JsonValue) -> Any:  # noqa: ANN401 - any JSON
    # Not a deep copy: in that, a part that stands in two places is still one.
    return json.loads(json.dumps(body))


def _named(way: _Place) -> list[str]:
    return [step for step in way if isinstance(step, str)]


def _at(body: Any, way: _Place) -> Any:  # noqa: ANN401 - any JSON
    for step in way:
        body = body[step]
    return body


def _places(value: JsonValue, path: _Place = ()) -> list[_Place]:
    """Return the way to each value below this one."""
    places = [path] if path else []
    if isinstance(value, dict):
        for name, child in value.items():
            places += _places(child, (*path, name))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            places += _places(child, (*path, index))
    return places
