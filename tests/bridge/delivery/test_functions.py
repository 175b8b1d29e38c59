"""How the functions of others are called and named."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from bridge.delivery.functions import as_async, is_async, name_of, raised_at


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


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

    async def test_a_plain_function_runs_in_a_thread(self, threads):
        """A plain function may block, so it does not run on the event loop."""
        ran = []
        await as_async(lambda: ran.append(threading.current_thread()), threads)()
        assert ran != [threading.main_thread()]

    async def test_what_a_plain_function_returns_is_awaited(self, threads):
        """A lambda around an async function works as that function does."""

        async def double(number):
            return 2 * number

        assert await as_async(lambda: double(21), threads)() == 42

    def test_a_function_is_named_as_it_is_in_the_settings(self):
        """The default name of a subscriber is module:name, also of objects and partials."""
        assert name_of(partial(threads)) == "tests.bridge.delivery.test_functions:threads"
        assert name_of(_Object()) == "tests.bridge.delivery.test_functions:_Object"

    def test_an_exception_that_was_never_raised_has_no_place(self):
        """There is nothing to say about an error without a traceback."""
        assert raised_at(ValueError()) is None
