"""Make frozen classes quick to create, and their JSON safe to hand to several readers.

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

from bridge.model.masking import discreet

P = ParamSpec("P")
C = TypeVar("C", bound=type)
T = TypeVar("T")
A = TypeVar("A", bound=attrs.AttrsInstance)

_Field: TypeAlias = "attrs.Attribute[object]"

_FACTORY: Final[type] = type(attrs.Factory(list))
_STORED: Final[dict[tuple[type, str], Callable[[Any], Any]]] = {}
_PLAIN: Final = {
    "__init__": object.__init__,
    "__setattr__": object.__setattr__,
    "__delattr__": object.__delattr__,
}


def own_copies(*names: str) -> Callable[[C], C]:
    """Let each access to these attributes return a copy of the JSON value.

    A change by one receiver changes nothing that others get. A copy is made only where it is read;
    `stored` returns the value itself.
    """

    def decorate(cls: C) -> C:
        for name in names:
            slot = vars(cls)[name]
            _STORED[cls, name] = slot.__get__
            setattr(cls, name, property(_copying(slot.__get__), slot.__set__))
        return cls

    return decorate


def stored(cls: type, name: str) -> Callable[[Any], Any] | None:
    """Return what reads an attribute without a copy, or None where plain access makes none."""
    return next((_STORED[base, name] for base in cls.__mro__ if (base, name) in _STORED), None)


def evolved(instance: A, **changes: Any) -> A:  # noqa: ANN401 - its fields
    """Return an instance with other fields, as `attrs.evolve`, and no JSON copied on the way."""
    for cls, name in _STORED:
        if isinstance(instance, cls) and name not in changes:
            changes[name] = _STORED[cls, name](instance)
    return attrs.evolve(instance, **changes)  # type: ignore[misc]  # it is one


def _copying(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda instance: _copied(read(instance))


def _copied(value: Any) -> Any:  # noqa: ANN401 - JSON, whose type is not known here
    if type(value) is dict:
        return {key: _copied(each) for key, each in value.items()}
    if type(value) is list:
        return [_copied(each) for each in value]
    return value


def quick_init(cls: type[A]) -> type[A]:
    """Give a final, frozen and slotted attrs class an `__init__` of plain assignments.

    The signature stays. The repr shows no personal data (see `masking.discreet`). Raises
    `TypeError` where an assignment is not enough: converters, validators and factories are not
    supported.
    """
    slow = cls.__init__
    fields = _fields(cls)
    plain = [_parameter(field) for field in fields if not field.kw_only]
    named = [_parameter(field) for field in fields if field.kw_only]
    quick = _compiled(
        cls,
        ["self", *plain, *(["*", *named] if named else [])],
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
    cls.__repr__ = discreet  # type: ignore[method-assign]
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


@cache
def changer(cls: Hashable, *names: str) -> Callable[..., Any]:
    """Return a function that copies an instance with other values in some fields.

    It takes the instance and the values, in the order of the names: `attrs.evolve` in a third of
    the time. Its values must be those that the fields' converters would return.
    """
    fields = _fields(cls, converted=True)
    readers = {field.name: stored(cls, field.name) for field in fields}  # type: ignore[arg-type]
    return _compiled(  # type: ignore[no-any-return] # made at run time
        cls,
        ["old", *names],
        [
            "self = draft()",
            *(
                f"self.{name} = {name}"
                if name in names
                else f"self.{name} = old.{name}"
                if read is None
                else f"self.{name} = read_{name}(old)"
                for name, read in readers.items()
            ),
            "self.__class__ = frozen",
            "return self",
        ],
        **{f"read_{name}": read for name, read in readers.items() if read is not None},
    )


@cache  # several modules ask for the same one
def _builder(cls: Hashable, *, converted: bool = False) -> Any:  # noqa: ANN401 - made at run time
    fields = _fields(cls, converted=converted)
    return _compiled(
        cls,
        # Without a star, those that have a default must come last.
        [*map(_parameter, sorted(fields, key=_has_default))],
        [
            "self = draft()",
            *(f"self.{field.name} = {field.name}" for field in fields),
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


def _compiled(cls: Any, parameters: list[str], lines: list[str], **more: Any) -> Any:  # noqa: ANN401
    """Return a function of these parameters and lines."""
    names = {
        "become": object.__setattr__,
        "draft": draft_of(cls),
        "frozen": cls,
        **more,
        **{f"default_{field.name}": field.default for field in attrs.fields(cls)},
    }
    source = "\n    ".join([f"def made({', '.join(parameters)}):", *lines])
    exec(source, names)  # noqa: S102 - made of nothing but our own field names
    return names["made"]


def draft_of(cls: Any) -> type:  # noqa: ANN401 - made at run time
    """Return a class with the same slots, which is empty when called and can be assigned to.

    Its instance becomes one of the frozen class once that is assigned to `__class__`; every field
    must have been assigned to by then.
    """
    bases = tuple(base for base in cls.__bases__ if base is not Generic)  # it adds no slots
    slots = {
        name: read.__self__  # type: ignore[attr-defined]  # the slot behind the property
        for (owner, name), read in _STORED.items()
        if owner is not cls and issubclass(cls, owner)
    }
    return type(cls.__name__, bases, {**_PLAIN, **slots, "__slots__": vars(cls)["__slots__"]})
