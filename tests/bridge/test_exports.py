"""What `bridge` shows is what it lists."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module

import pytest

import bridge

IMPORTS = {
    alias.name: node.module
    for node in ast.walk(ast.parse(inspect.getsource(bridge)))
    if isinstance(node, ast.ImportFrom) and node.module.startswith("bridge")
    for alias in node.names
}


def test_all_is_sorted_and_complete():
    """Every name that a type checker finds in bridge is listed, and the list is sorted."""
    assert set(bridge.__all__) == IMPORTS.keys() == set(dir(bridge))
    assert bridge.__all__ == sorted(bridge.__all__)


@pytest.mark.parametrize("name", bridge.__all__)
def test_each_name_is_what_a_type_checker_takes_it_for(name):
    """A name that is imported at its first use is the one of the module that is named for it."""
    assert getattr(bridge, name) is getattr(import_module(IMPORTS[name]), name)


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
