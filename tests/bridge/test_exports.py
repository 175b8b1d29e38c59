"""What `bridge` shows is what it lists."""

from __future__ import annotations

import inspect

import bridge


def test_all_is_sorted_and_complete():
    """Every public name that is importable from bridge is listed, and the list is sorted."""
    importable = {
        name
        for name, value in vars(bridge).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert set(bridge.__all__) == importable
    assert bridge.__all__ == sorted(bridge.__all__)


def test_every_public_class_and_function_is_explained():
    """Whatever a user imports has a docstring."""
    undocumented = [
        name
        for name in bridge.__all__
        if (inspect.isclass(value := getattr(bridge, name)) or inspect.isfunction(value))
        and not inspect.getdoc(value)
    ]
    assert undocumented == []
