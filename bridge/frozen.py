"""Make frozen classes quick to create.

attrs fills a frozen instance through `object.__setattr__`, a call for each field, which for a
message takes longer than reading the JSON it came from. Here an instance is first of a *draft*
class, which has the same slots and lets itself be assigned to, and becomes frozen before anybody
else sees it. How much that gives stands in `docs/performance.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Generic, ParamSpec, TypeVar

import attrs

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A", bound=attrs.AttrsInstance)

_FACTORY: Final[type] = type(attrs.Factory(list))
_MUTABLE: Final = {"__setattr__": object.__setattr__, "__delattr__": object.__delattr__}


def quick_init(cls: type[A]) -> type[A]:
    """Give a final, frozen and slotted attrs class an `__init__` of plain assignments.

    The signature stays. Raises `TypeError` where an assignment is not enough: converters,
    validators and factories are not supported.
    """
    slow = cls.__init__
    quick = _compiled(cls, "self, ", "become(self, '__class__', draft)", "")
    quick.__annotations__ = slow.__annotations__
    quick.__module__, quick.__qualname__ = cls.__module__, f"{cls.__qualname__}.__init__"
    cls.__init__ = quick  # type: ignore[method-assign]
    return cls


def builder(cls: Callable[P, T]) -> Callable[P, T]:
    """Return a function that makes instances as the class does, for the hottest places.

    A function is called in half the time of a class. Keep to fifteen keywords: beyond those
    Python first packs them into a dictionary, and nothing is gained.
    """
    build: Callable[P, T] = _compiled(cls, "", "self = new(draft)", "return self")
    return build


def _compiled(cls: Any, first: str, begin: str, end: str) -> Any:  # noqa: ANN401 - made at run time
    """Return a function with the fields as keywords, which assigns each of them to a draft."""
    bases = tuple(base for base in cls.__bases__ if base is not Generic)  # it adds no slots
    draft = type(cls.__name__, bases, {**_MUTABLE, "__slots__": vars(cls)["__slots__"]})
    names = {
        "become": object.__setattr__,
        "new": object.__new__,
        "draft": draft,
        "frozen": cls,
    }
    parameters = []
    fields: tuple[attrs.Attribute[object], ...] = attrs.fields(cls)
    for field in fields:
        if field.converter or field.validator or isinstance(field.default, _FACTORY):
            raise TypeError(f"{cls.__name__}.{field.name} needs more than an assignment")
        if field.default is attrs.NOTHING:
            parameters.append(field.name)
        else:
            names[f"default_{field.name}"] = field.default
            parameters.append(f"{field.name}=default_{field.name}")
    source = [
        f"def __init__({first}*, {', '.join(parameters)}):",
        f"    {begin}",
        *(f"    self.{field.name} = {field.name}" for field in fields),
        "    self.__class__ = frozen",
        f"    {end}",
    ]
    exec("\n".join(source), names)  # noqa: S102 - made of nothing but our own field names
    return names["__init__"]
