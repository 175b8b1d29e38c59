"""What a package shows is what it lists, although a name is imported when it is first used."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from types import ModuleType

import pytest

import bridge
from bridge import adapter, delivery, model, settings

PACKAGES = (bridge, model, adapter, settings, delivery)


def told_to_type_checkers(package: ModuleType) -> dict[str, set[str]]:
    """Return the modules of which a type checker takes each name, or what it takes of all (`*`)."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(inspect.getsource(package))):
        module = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
        if module.startswith("bridge.") and module != "bridge.process.lazy":
            for alias in node.names:
                found.setdefault(alias.name, set()).add(module)
    return found


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_each_name_is_what_a_type_checker_takes_it_for(package):
    """What a package lists is what it shows, and what type checkers find in the same modules."""
    modules = told_to_type_checkers(package)
    for name in package.__all__:
        sources = map(import_module, modules.get(name, set()) | modules.get("*", set()))
        (found,) = {id(getattr(each, name)) for each in sources if hasattr(each, name)}
        assert id(getattr(package, name)) == found, name
    assert modules.keys() - {"*"} <= set(package.__all__)
    assert sorted(set(package.__all__)) == sorted(package.__all__) == sorted(dir(package))


def test_a_name_that_is_not_there():
    """A misspelt name is an error as in any module."""
    with pytest.raises(AttributeError, match="module 'bridge' has no attribute 'Mesage'"):
        _ = bridge.Mesage
    with pytest.raises(ImportError, match="cannot import name 'Mesage'"):
        exec("from bridge import Mesage")


def test_every_public_class_and_function_is_explained():
    """Whatever a user imports has a docstring."""
    undocumented = [
        name
        for name in bridge.__all__
        if (inspect.isclass(value := getattr(bridge, name)) or inspect.isfunction(value))
        and not inspect.getdoc(value)
    ]
    assert undocumented == []
