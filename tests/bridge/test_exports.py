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


def imports(package: ModuleType) -> dict[str, str]:
    """Return the names that a type checker finds in a package, each with its module."""
    return {
        alias.name: node.module or ""
        for node in ast.walk(ast.parse(inspect.getsource(package)))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bridge.")
        for alias in node.names
        if node.module != "bridge.lazy"
    }


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_all_is_complete(package):
    """Every name that a type checker finds is listed, once."""
    assert sorted(package.__all__) == sorted(imports(package)) == sorted(dir(package))


@pytest.mark.parametrize(
    ("package", "name", "module"),
    [(package, *found) for package in PACKAGES for found in imports(package).items()],
)
def test_each_name_is_what_a_type_checker_takes_it_for(package, name, module):
    """A name that is imported at its first use is that of the module that is named for it."""
    assert getattr(package, name) is getattr(import_module(module), name)


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
