"""Packages that import a name when it is first used (PEP 562).

A package's `__init__` imports its public names for type checkers alone, and says where they are::

    if TYPE_CHECKING:
        from bridge.model.content import Text
    else:
        __getattr__, __dir__ = lazily(__name__, ("bridge.model.content",))

So a command that needs few of the names starts in a third of the time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module


def lazily(
    package: str, modules: Sequence[str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return a package's `__getattr__` and `__dir__`; its names are those of its `__all__`.

    A name is taken from the first of the modules that has it, so the cheapest come first.
    """
    namespace = vars(sys.modules[package])

    def find(name: str) -> object:
        for module in map(import_module, modules) if name in namespace["__all__"] else ():
            if hasattr(module, name):
                namespace[name] = value = getattr(module, name)
                return value
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find, lambda: namespace["__all__"]
