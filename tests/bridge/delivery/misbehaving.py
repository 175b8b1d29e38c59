"""Subscribers as they should not be: each kind of misbehaviour, async and plain."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import anyio

from bridge.errors import Drop, RetryIn


class Unprintable(Exception):
    """Its text was to quote a response that never came."""

    response: Any = None

    def __str__(self) -> str:
        return f"{self.response.status}"


class LyingOfItsClass(Exception):
    """Its class cannot be asked for, as of some proxies."""

    __class__ = property(lambda _: 1 / 0)


class LyingOfItsCause(Exception):
    __cause__ = __context__ = __traceback__ = property(lambda _: 1 / 0)


class Closed(Exception):
    """Nothing of it can be had."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class _Nameless(type):
    __name__ = property(lambda _: 1 / 0)


class Nameless(Exception, metaclass=_Nameless):
    """Its class has no name."""


class _Text(str):
    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        raise RuntimeError("no bytes")

    __format__ = __getitem__ = encode


class OddlyPrinted(Exception):
    """Its text is a string of another class."""

    def __str__(self) -> str:
        return _Text("text")


class Exiting(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


class SaysNoSeconds(RetryIn):
    """Its author forgot those of the class that it is made from."""

    def __init__(self) -> None:
        pass


class SaysOddSeconds(RetryIn):
    def __init__(self, seconds: Any) -> None:
        super().__init__(0.01)
        self.seconds = seconds


@dataclasses.dataclass
class Unhashable(Exception):
    """As every exception that is a dataclass."""

    code: int = 1

    def __bool__(self) -> bool:
        return False


def circular() -> ValueError:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


def circular_group() -> ExceptionGroup:
    group = ExceptionGroup("group", [ValueError("one")])
    group.exceptions[0].__cause__ = group
    return group


def deep_group() -> ExceptionGroup:
    group = ExceptionGroup("innermost", [ValueError("one")])
    for _ in range(2000):
        group = ExceptionGroup("outer", [group])
    return group


def long_chain() -> ValueError:
    error = ValueError("innermost")
    for _ in range(10_000):
        outer = ValueError("outer")
        outer.__cause__, error = error, outer
    return error


class Released:
    """What hangs does so until this is set, so that no test leaves anything behind."""

    def __init__(self) -> None:
        self.event = threading.Event()


def raising(error: Callable[[], BaseException]) -> tuple[Callable, Callable]:
    def plain(event, released):
        raise error()

    async def waiting(event, released):
        await asyncio.sleep(0)
        raise error()

    return plain, waiting


async def at_once(event, released):
    raise ValueError("before it waits")


async def cancels_itself(event, released):
    asyncio.current_task().cancel()
    await asyncio.sleep(0)


async def cancels_itself_later(event, released):
    await asyncio.sleep(0)
    asyncio.current_task().cancel()
    await asyncio.sleep(1)


async def cancels_itself_and_returns(event, released):
    asyncio.current_task().cancel()


async def swallows_its_own_cancellation(event, released):
    asyncio.current_task().cancel()
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        return


async def leaves_a_timer(event, released):
    """As home-made time-outs do: the timer outlives what it was to bound."""
    asyncio.get_running_loop().call_later(0.01, asyncio.current_task().cancel)


async def times_out_by_hand(event, released):
    """As async_timeout did before 4.0.3: cancelled and never uncancelled."""
    asyncio.get_running_loop().call_later(0.005, asyncio.current_task().cancel)
    try:
        await asyncio.sleep(10)
    except asyncio.CancelledError:
        raise TimeoutError("mine") from None


async def awaits_what_was_cancelled(event, released):
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def hangs(event, released):
    await asyncio.Event().wait()


async def hangs_and_swallows(event, released):
    while not released.event.is_set():
        try:
            await asyncio.sleep(0.01)
        except BaseException:  # noqa: BLE001 - that is what it is about
            continue


async def hangs_and_returns(event, released):
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return


async def hangs_and_converts(event, released):
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise RuntimeError("interrupted") from None


async def fails_in_a_group(event, released):
    async with asyncio.TaskGroup() as group:
        group.create_task(at_once(event, released))


async def returns_an_awaitable(event, released):
    return asyncio.sleep(0)


def returns_a_coroutine(event, released):
    return at_once(event, released)


def returns_what_hangs(event, released):
    return hangs(event, released)


def returns_what_fails_in_an_executor(event, released):
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(int, "no number")


async def awaits_what_is_none(event, released):
    class Awaitable:
        def __await__(self):
            yield "nothing to wait for"

    await Awaitable()


async def awaits_itself(event, released):
    await asyncio.current_task()


async def leaves_a_time_limit(event, released):
    await asyncio.timeout(0.01).__aenter__()


async def leaves_a_group(event, released):
    """Its child, which fails, cancels the task that it is no longer a part of."""
    group = await asyncio.TaskGroup().__aenter__()
    group.create_task(at_once(event, released))
    await asyncio.Event().wait()


async def leaves_a_scope(event, released):
    anyio.CancelScope(deadline=anyio.current_time() + 0.01).__enter__()
    await asyncio.sleep(0)


async def runs_a_loop_in_the_loop(event, released):
    coroutine = hangs(event, released)
    try:
        asyncio.run(coroutine)
    finally:
        coroutine.close()


def runs_a_loop(event, released):
    asyncio.run(at_once(event, released))


def returns_a_generator(event, released):
    return (each for each in "abc")


def returns_an_async_generator(event, released):
    async def generator():
        yield event

    return generator()


def blocks(event, released):
    released.event.wait()


def recurses(event, released):
    return recurses(event, released)


def changes_the_event(event, released):
    event.raw.clear()
    raise ValueError


KINDS: dict[str, Callable[..., Any]] = {
    **{
        f"{how} raises {name}": function
        for name, error in {
            "an error": ValueError,
            "what has no text": Unprintable,
            "a text that is no UTF-8": lambda: OSError(os.fsdecode(b"rechnung-\xe4.pdf")),
            "StopIteration": StopIteration,
            "StopAsyncIteration": StopAsyncIteration,
            "KeyboardInterrupt": KeyboardInterrupt,
            "SystemExit": lambda: SystemExit(0),
            "GeneratorExit": GeneratorExit,
            "CancelledError": asyncio.CancelledError,
            "a group": lambda: BaseExceptionGroup("both", [KeyboardInterrupt(), SystemExit()]),
            "Drop": lambda: Drop("not ours"),
            "RetryIn": lambda: RetryIn(0.01),
            "RetryIn of another number": lambda: RetryIn(Decimal("0.01")),
            "RetryIn without seconds": SaysNoSeconds,
            "RetryIn for ever": lambda: SaysOddSeconds(math.inf),
            "RetryIn in words": lambda: SaysOddSeconds("soon"),
            "what is false and has no hash": Unhashable,
            "what lies of its class": LyingOfItsClass,
            "what lies of its cause": LyingOfItsCause,
            "what can be asked nothing": Closed,
            "what has no name": Nameless,
            "a text of another class": OddlyPrinted,
            "what exits when printed": Exiting,
            "a large text": lambda: ValueError("x" * 20_000_000),
            "MemoryError": MemoryError,
            "RecursionError": RecursionError,
            "what caused itself": circular,
            "a group that caused itself": circular_group,
            "a deep group": deep_group,
            "a long chain": long_chain,
        }.items()
        for how, function in zip(("plain", "async"), raising(error), strict=True)
    },
    **{
        function.__name__: function
        for function in (
            *(at_once, cancels_itself, cancels_itself_later, cancels_itself_and_returns),
            *(swallows_its_own_cancellation, leaves_a_timer, times_out_by_hand),
            *(awaits_what_was_cancelled, hangs, hangs_and_swallows, hangs_and_returns),
            *(hangs_and_converts, fails_in_a_group, returns_an_awaitable, returns_a_coroutine),
            *(returns_what_hangs, returns_a_generator, returns_an_async_generator, blocks),
            *(recurses, changes_the_event, returns_what_fails_in_an_executor, awaits_what_is_none),
            *(awaits_itself, leaves_a_time_limit, leaves_a_group, leaves_a_scope),
            *(runs_a_loop_in_the_loop, runs_a_loop),
        )
    },
}
"""Every kind by its name; each is called with the event and what releases those that hang."""

DELIVERED = {
    "cancels_itself_and_returns",
    "swallows_its_own_cancellation",
    "leaves_a_timer",
    "leaves_a_time_limit",
    "leaves_a_scope",
    "returns_an_awaitable",
}
"""Those of which the function has returned, as it should; the others fail."""
