"""`--set path=value`: change a value in a JSON body before it is posted."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

import attrs
import orjson

from bridge.cli.terminal import UsageError
from bridge.model import JsonValue

_NEAR: Final = 3

Step: TypeAlias = str | int

_STEP: Final = re.compile(r'(?:^|\.)([^.\[\]="]+)|\[(-?\d+)\]|\["([^"]+)"\]')


@attrs.frozen(kw_only=True)
class Change:
    """A path, as the user wrote it, and what it is to hold."""

    path: str
    steps: tuple[Step, ...]
    value: JsonValue = attrs.field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Change:
        """Read `path=value`, such as `entry[0].id=5`; what is no JSON is a string.

        A name with a dot in it is written `["a.b"]`. Raises `UsageError`.
        """
        steps: list[Step] = []
        position = 0
        while match := _STEP.match(text, position):
            name, index, quoted = match.groups()
            steps.append(int(index) if index is not None else name or quoted)
            position = match.end()
        if not steps or text[position : position + 1] != "=":
            raise UsageError(
                f"--set: expected path=value, such as entry[0].id=5, found {text.partition('=')[0]}"
            )
        return cls(path=text[:position], steps=tuple(steps), value=_value(text[position + 1 :]))

    def apply(self, body: JsonValue) -> None:
        """Change a body in place; objects on the way that are missing are made.

        Raises `UsageError` where the path leads through what is neither object nor array.
        """
        *way, last = self.steps
        for step, following in zip(way, self.steps[1:], strict=True):
            body = self._below(body, step, [] if isinstance(following, int) else {})
        if isinstance(body, dict) and isinstance(last, str):
            body[last] = self.value
        elif isinstance(body, list) and isinstance(last, int):
            if last == len(body):
                body.append(self.value)
            else:
                body[self._checked(body, last)] = self.value
        else:
            raise self._misfit(last)

    def is_new_in(self, body: JsonValue) -> bool:
        """Return whether a body has no such path yet."""
        value: Any = body
        step: Any
        for step in self.steps:
            if type(value) is not (list if isinstance(step, int) else dict):
                return True
            try:
                value = value[step]
            except LookupError:
                return True
        return False

    def _below(self, body: JsonValue, step: Step, missing: JsonValue) -> JsonValue:
        if isinstance(body, dict) and isinstance(step, str):
            return body.setdefault(step, missing)
        if isinstance(body, list) and isinstance(step, int):
            return body[self._checked(body, step)]
        raise self._misfit(step)

    def _checked(self, array: list[JsonValue], index: int) -> int:
        if -len(array) <= index < len(array):
            return index
        raise UsageError(f"--set {self.path}: [{index}] is beyond the end of its array")

    def _misfit(self, step: Step) -> UsageError:
        what = f"there is no array for [{step}]" if isinstance(step, int) else f"no object: {step}"
        return UsageError(f"--set {self.path}: {what}")


def near(path: str, body: JsonValue) -> list[str]:
    """Return the paths of a body that may be meant by another one, the nearest first."""
    paths = {each: _last(each) for each in _paths(body)}
    names = [_last(path), *difflib.get_close_matches(_last(path), set(paths.values()))]
    same_name = [each for name in names for each, last in paths.items() if last == name]
    return list(dict.fromkeys([*same_name, *difflib.get_close_matches(path, paths)]))[:_NEAR]


def _last(path: str) -> str:
    return re.split(r"[.\[]", path)[-1].strip('"]')


def _paths(body: JsonValue, path: str = "") -> Iterator[str]:
    """Yield every path in a body, as it is written for `--set`."""
    if isinstance(body, dict):
        for name, below in body.items():
            step = name if _STEP.fullmatch(name) else f"[{orjson.dumps(name).decode()}]"
            step = step if step.startswith("[") or not path else f".{step}"
            yield path + step
            yield from _paths(below, path + step)
    elif isinstance(body, list):
        for index, below in enumerate(body):
            yield f"{path}[{index}]"
            yield from _paths(below, f"{path}[{index}]")


def changed(body: JsonValue, changes: Iterable[Change]) -> JsonValue:
    """Return a body with all the changes made to it; the body itself stays as it is."""
    body = copy.deepcopy(body)
    for change in changes:
        change.apply(body)
    return body


def _value(text: str) -> JsonValue:
    try:
        value: JsonValue = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return value
