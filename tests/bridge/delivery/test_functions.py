"""How the functions of others are called and named."""

from __future__ import annotations

from functools import partial

from bridge.delivery.functions import is_async, name_of
from bridge.process.raised import raised_at


def function(event): ...


class _Object:
    async def __call__(self, event):
        return event

    def plain(self, event):
        return event


class TestFunctions:
    def test_async_functions_are_told_from_plain_ones(self):
        """Functions, partials of them, methods and objects are looked through."""

        async def function(event): ...

        assert is_async(function)
        assert is_async(partial(partial(function), 1))
        assert is_async(_Object())
        assert not is_async(_Object().plain)
        assert not is_async(print)

    def test_a_function_is_named_as_it_is_in_the_settings(self):
        """The default name of a subscriber is module:name, also of objects and partials."""
        assert name_of(partial(function)) == "tests.bridge.delivery.test_functions:function"
        assert name_of(_Object()) == "tests.bridge.delivery.test_functions:_Object"

    def test_an_exception_that_was_never_raised_has_no_place(self):
        """There is nothing to say about an error without a traceback."""
        assert raised_at(ValueError()) is None
