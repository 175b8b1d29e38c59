"""Make frozen classes quick to create.

attrs fills a frozen instance through `object.__setattr__`, a call for each field, which for a
message takes longer than reading the JSON it came from. Here an instance is first of a *draft*
class, which has the same slots and lets itself be assigned to, and becomes frozen before anybody
else sees it. How much that gives stands in `docs/performance.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cache
from typing import Any, Final, Generic, ParamSpec, TypeAlias, TypeVar

import attrs

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A", bound=attrs.AttrsInstance)

_Field: TypeAlias = "attrs.Attribute[object]"

_FACTORY: Final[type] = type(attrs.Factory(list))
_PLAIN: Final = {
    "__init__": object.__init__,
    "__setattr__": object.__setattr__,
    "__delattr__": object.__delattr__,
}


def quick_init(cls: type[A]) -> type[A]:
    """Give a final, frozen and slotted attrs class an `__init__` of plain assignments.

    The signature stays. Raises `TypeError` where an assignment is not enough: converters,
    validators and factories are not supported.
    """
    slow = cls.__init__
    fields = _fields(cls)
    quick = _compiled(
        cls,
        ["self", "*", *map(_parameter, fields)],
        [
            "become(self, '__class__', draft)",
            *(f"self.{field.name} = {field.name}" for field in fields),
            "self.__class__ = frozen",
        ],
    )
    quick.__annotations__ = slow.__annotations__
    quick.__name__ = slow.__name__
    quick.__module__, quick.__qualname__ = cls.__module__, f"{cls.__qualname__}.__init__"
    cls.__init__ = quick  # type: ignore[method-assign]
    return cls


def builder(cls: Callable[P, T], *, converted: bool = False) -> Callable[P, T]:
    """Return a function that makes instances as the class does, for the hottest places.

    With `converted`, converters are left out: what is given must be what they would return.

    A function is called in half the time of a class. Keep to fourteen keywords: beyond those
    Python first packs them into a dictionary, and nothing is gained.
    Only a type checker insists on keywords here: the default of each keyword-only argument is
    looked up by itself, those of other arguments are copied all at once.
    """
    build: Callable[P, T] = _builder(cls, converted=converted)
    return build


def builder_from(shared: type[attrs.AttrsInstance], cls: type[T]) -> Callable[..., T]:
    """Return a function as `builder` does, whose first argument is an instance of `shared`.

    The fields that both classes have are copied from it, so that a call needs fewer keywords.
    A type checker knows nothing of the others: say beside the function what it takes.
    """
    build: Callable[..., T] = _builder(cls, shared)  # type: ignore[arg-type] # a class is hashable
    return build


@cache
def changer(cls: Hashable, *names: str) -> Callable[..., Any]:
    """Return a function that copies an instance with other values in some fields.

    It takes the instance and the values, in the order of the names: `attrs.evolve` in a third of
    the time. What is given must be what the fields' converters would return.
    """
    fields = _fields(cls, converted=True)
    return _compiled(  # type: ignore[no-any-return] # made at run time
        cls,
        ["old", *names],
        [
            "self = draft()",
            *(
                f"self.{field.name} = {'' if field.name in names else 'old.'}{field.name}"
                for field in fields
            ),
            "self.__class__ = frozen",
            "return self",
        ],
    )


@cache  # several modules ask for the same one
def _builder(cls: Hashable, shared: type | None = None, *, converted: bool = False) -> Any:  # noqa: ANN401 - made at run time
    fields = _fields(cls, converted=converted)
    copied = {field.name for field in attrs.fields(shared)} if shared is not None else set()
    given = [field for field in fields if field.name not in copied]
    # Without a star, those that have a default must come last.
    given.sort(key=_has_default)
    return _compiled(
        cls,
        [*(["shared"] if copied else []), *map(_parameter, given)],
        [
            "self = draft()",
            *(
                f"self.{field.name} = {'shared.' if field.name in copied else ''}{field.name}"
                for field in fields
            ),
            "self.__class__ = frozen",
            "return self",
        ],
    )


def _fields(cls: Any, *, converted: bool = False) -> tuple[_Field, ...]:  # noqa: ANN401
    """Return the fields of a class, each of which a mere assignment can fill."""
    fields: tuple[_Field, ...] = attrs.fields(cls)
    for field in fields:
        needs_converting = field.converter and not converted
        if needs_converting or field.validator or isinstance(field.default, _FACTORY):
            raise TypeError(f"{cls.__name__}.{field.name} needs more than an assignment")
    return fields


def _parameter(field: _Field) -> str:
    return f"{field.name}=default_{field.name}" if _has_default(field) else field.name


def _has_default(field: _Field) -> bool:
    return field.default is not attrs.NOTHING and not field.converter  # it has yet to be converted


def _compiled(cls: Any, parameters: list[str], lines: list[str]) -> Any:  # noqa: ANN401
    """Return a function of these parameters and lines."""
    names = {
        "become": object.__setattr__,
        "draft": draft_of(cls),
        "frozen": cls,
        **{f"default_{field.name}": field.default for field in attrs.fields(cls)},
    }
    source = "\n    ".join([f"def made({', '.join(parameters)}):", *lines])
    exec(source, names)  # noqa: S102 - made of nothing but our own field names
    return names["made"]


def draft_of(cls: Any) -> type:  # noqa: ANN401 - made at run time
    """Return a class with the same slots, which is empty when called and can be assigned to.

    What was made of it becomes an instance of the frozen class once that is assigned to
    `__class__`; every field must have been assigned to by then.
    """
    bases = tuple(base for base in cls.__bases__ if base is not Generic)  # it adds no slots
    return type(cls.__name__, bases, {**_PLAIN, "__slots__": vars(cls)["__slots__"]})
