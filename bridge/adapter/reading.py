"""Read the parts of a body, and say where one is not what it must be.

`bridge.adapter.payload` reads what may be missing: it returns None. Required parts are read here:
`Unreadable` says which part is missing or wrong, with its path from the given object on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from bridge.adapter.build import Scope
from bridge.adapter.paths import Step, dotted
from bridge.adapter.payload import identifier, number
from bridge.errors import Unreadable
from bridge.model import Event, JsonValue

JsonObject: TypeAlias = dict[str, JsonValue]


def read_each(
    scope: Scope,
    array: JsonValue,
    *place: Step,
    read: Callable[[JsonObject, int], Iterable[Event]],
) -> list[Event]:
    """Read each object of an array by itself; `place` leads from the body to the array.

    `read` gets an object and its position. Where it raises `Unreadable`, with a path from the
    object on, and where an element is no object, the element alone is kept as `Unrecognized`.
    """
    if type(array) is not list:
        return [scope.unrecognized(_fault(array, "an array"), *place)]
    events: list[Event] = []
    for index, item in enumerate(array):
        if type(item) is not dict:
            events.append(scope.unrecognized(Unreadable("", "not an object"), *place, index))
            continue
        try:
            events += read(item, index)
        except Unreadable as error:
            events.append(scope.unrecognized(error, *place, index))
    return events


# --- required parts ----------------------------------------------------------------------


def required_object(parent: JsonObject, name: str, *below: str) -> JsonObject:
    """Return the object under a name, or at a path of names. Raises `Unreadable`."""
    value = _at(parent, name, below) if below else parent.get(name)
    if type(value) is dict:
        return value
    raise _fault(value, "an object", name, *below)


def required_text(parent: JsonObject, name: str, *below: str) -> str:
    """Return the string under a name, or at a path, also an empty one. Raises `Unreadable`."""
    value = _at(parent, name, below) if below else parent.get(name)
    if type(value) is str:
        return value
    raise _fault(value, "a string", name, *below)


def required_id(parent: JsonObject, name: str, *below: str) -> str:
    """Return the id under a name, or at a path of names. Raises `Unreadable`."""
    value = _at(parent, name, below) if below else parent.get(name)
    found = value if type(value) is str and value else identifier(value)
    if found is None:
        raise _fault(value, "an id", name, *below)
    return found


def required_number(parent: JsonObject, name: str, *below: str) -> float:
    """Return the number under a name, or at a path of names. Raises `Unreadable`."""
    value = _at(parent, name, below) if below else parent.get(name)
    found = number(value)
    if found is None:
        raise _fault(value, "a number", name, *below)
    return found


def _at(parent: JsonObject, name: str, below: tuple[str, ...]) -> JsonValue:
    value = parent.get(name)
    for depth, step in enumerate(below):
        if type(value) is not dict:
            raise _fault(value, "an object", name, *below[:depth])
        value = value.get(step)
    return value


def _fault(found: JsonValue, noun: str, *path: str) -> Unreadable:
    return Unreadable(dotted(path), "missing" if found in (None, "") else f"not {noun}")
