"""Where a part stands in a body, and the body with that part alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from bridge.model import JsonValue

Step: TypeAlias = str | int
"""A name in an object, or a position in an array."""

Narrow: TypeAlias = Callable[[dict[str, JsonValue], Sequence[Step]], dict[str, JsonValue]]
"""Takes an object and the steps from it to a part; returns it without what belongs to others."""


def dotted(steps: Sequence[Step]) -> str:
    """Write steps as people know them: `entry[0].changes[2].value`."""
    text = "".join(f".{step}" if type(step) is str else f"[{step}]" for step in steps)
    return text.removeprefix(".")


def cut(body: JsonValue, steps: Sequence[Step], narrow: Narrow | None = None) -> JsonValue:
    """Return a body that holds the part at `steps`, and of each array on the way nothing else.

    `narrow` leaves out of each object on the way what stands beside. Nothing of the body itself
    is changed; what is kept is shared with it.
    """
    if not steps:
        return body
    step, rest = steps[0], steps[1:]
    if type(body) is dict and type(step) is str:
        beside = body if narrow is None else narrow(body, steps)
        return {**beside, step: cut(body[step], rest, narrow)} if step in body else beside
    if type(body) is list and type(step) is int:
        return [cut(body[step], rest, narrow)]
    return body
