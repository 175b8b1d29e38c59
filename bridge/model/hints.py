"""What the annotations of the model's fields say, for whoever reads, writes or describes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any, Final, TypeAlias, TypeVar, get_args, get_type_hints

from bridge import model
from bridge.model import Event

K = TypeVar("K")

Hint: TypeAlias = Any
"""What an annotation may be: a class, a union, a generic alias."""

JSON: Final = get_type_hints(Event)["raw"]
PUBLIC: Final[Sequence[type]] = [
    each for each in (getattr(model, name) for name in model.__all__) if isinstance(each, type)
]


def is_optional(hint: Hint) -> bool:
    """Return whether a hint is a union of something and None."""
    choices = get_args(hint)
    return len(choices) == 2 and NoneType in choices  # noqa: PLR2004 - something and None


def present(hint: Hint) -> Hint:
    """Return what there is where an optional value is not None."""
    first, second = get_args(hint)
    return second if first is NoneType else first


def when_used(table: dict[K, Callable[..., Any]], key: K, make: Callable[[], Any]) -> None:
    """Put into a table a function that is made at its first call, since few of them are needed."""

    def first(*arguments: object) -> Any:  # noqa: ANN401 - what the function returns
        table[key] = made = make()
        return made(*arguments)

    table[key] = first
