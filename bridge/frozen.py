"""Make frozen classes quick to create.

attrs fills a frozen instance through `object.__setattr__`, a call for each field, which for an
event of nineteen fields costs more than reading the JSON it came from.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import attrs

T = TypeVar("T", bound=attrs.AttrsInstance)

_FACTORY: Final[type] = type(attrs.Factory(list))
_MUTABLE: Final = {"__setattr__": object.__setattr__, "__delattr__": object.__delattr__}


def quick_init(cls: type[T]) -> type[T]:
    """Give a final, frozen and slotted attrs class an `__init__` of plain assignments.

    While it runs the instance is of a class with the same slots that lets itself be assigned to;
    nobody else has it yet. The signature stays; converters, validators and factories are not
    supported.
    """
    fields = attrs.fields(cls)
    draft = type(cls.__name__, cls.__bases__, {**_MUTABLE, "__slots__": vars(cls)["__slots__"]})
    names: dict[str, Any] = {"become": object.__setattr__, "draft": draft, "frozen": cls}
    parameters = []
    for field in fields:
        if field.converter or field.validator or isinstance(field.default, _FACTORY):
            raise TypeError(f"{cls.__name__}.{field.name} needs more than an assignment")
        if field.default is attrs.NOTHING:
            parameters.append(field.name)
        else:
            names[f"default_{field.name}"] = field.default
            parameters.append(f"{field.name}=default_{field.name}")
    source = [
        f"def __init__(self, *, {', '.join(parameters)}):",
        "    become(self, '__class__', draft)",
        *(f"    self.{field.name} = {field.name}" for field in fields),
        "    self.__class__ = frozen",
    ]
    exec("\n".join(source), names)  # noqa: S102 - made of nothing but our own field names
    slow, quick = cls.__init__, names["__init__"]
    quick.__annotations__ = slow.__annotations__
    quick.__module__, quick.__qualname__ = cls.__module__, f"{cls.__qualname__}.__init__"
    cls.__init__ = quick  # type: ignore[method-assign]
    return cls
