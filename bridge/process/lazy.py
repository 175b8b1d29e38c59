"""Names that are imported when they are first used, so that commands start in a third of the time.

A package's `__init__` imports its public names for type checkers alone, and says where they are::

    if TYPE_CHECKING:
        from bridge.model.content import Text
    else:
        __getattr__, __dir__ = lazily(__name__, "content")

A library of which only some runs need anything is imported so (PEP 562 does it for packages)::

    if TYPE_CHECKING:
        import aiohttp
    else:
        aiohttp = later("aiohttp")
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec


def lazily(package: str, modules: str) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return a package's `__getattr__` and `__dir__`; its names are those of its `__all__`.

    `modules` are those below the package that have them, between spaces. A name is taken from the
    first that has it, so the cheapest come first.
    """
    namespace = vars(sys.modules[package])

    def find(name: str) -> object:
        for below in modules.split() if name in namespace["__all__"] else ():
            module = import_module(f"{package}.{below}")
            if hasattr(module, name):
                namespace[name] = value = getattr(module, name)
                return value
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find, lambda: namespace["__all__"]


class later:  # noqa: N801 - it is called in the place of an import
    """A module that is imported when something of it is first used."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> object:
        """Import the module, and return what is called so in it."""
        value = getattr(import_module(self._module), name)
        setattr(self, name, value)
        return value


def required(module: str) -> None:
    """Raise `ModuleNotFoundError` where a module is not installed; it is not imported."""
    if find_spec(module) is None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)
