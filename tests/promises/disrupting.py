# ruff: noqa: ASYNC251 - they block the event loop on purpose
"""Subscribers that disrupt the whole process, each with the first event that it gets.

What one of them does, it does to the server and to everybody else in it.
"""

from __future__ import annotations

import asyncio
import builtins
import contextvars
import functools
import gc
import locale
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

KEPT: list[object] = []
FOLDER = Path.cwd()  # before anybody goes elsewhere
_seen = contextvars.ContextVar("seen", default="")


@functools.cache
def taken(name: str) -> int:
    return os.open(f"{FOLDER}/{name}", os.O_APPEND | os.O_WRONLY | os.O_CREAT, 0o600)


async def sound(event):
    os.write(taken("async"), f"{event.message_id}\n".encode())


def sound_plain(event):
    os.write(taken("plain"), f"{event.message_id}\n".encode())


def once(function: Callable) -> Callable:
    """Let a function disrupt the process once, as it would hardly do it more often."""
    begun = False

    def first() -> bool:
        nonlocal begun
        begun, was = True, begun
        return not was

    if asyncio.iscoroutinefunction(function):

        @functools.wraps(function)
        async def waiting(event):
            if first():
                await function()

        return waiting

    @functools.wraps(function)
    def plain(event):
        if first():
            function()

    return plain


def odd(*_: object, **__: object) -> None:
    raise RuntimeError("replaced by a subscriber")


@once
async def forks_and_returns():
    os.fork()


@once
def forks_in_a_thread():
    os.fork()


@once
async def forks_and_waits():
    if os.fork() == 0:
        await asyncio.sleep(0)


@once
async def forks_and_raises():
    if os.fork() == 0:
        raise ValueError("in the child")


@once
async def forks_in_a_callback():
    asyncio.get_running_loop().call_soon(os.fork)


@once
async def closes_the_streams():
    sys.stdout.close()
    sys.stderr.close()
    nowhere = os.open(os.devnull, os.O_RDWR)  # as daemons do: closed, they would be connections
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


@once
async def ends_the_executor():
    await asyncio.get_running_loop().shutdown_default_executor()


@once
async def fills_the_executor():
    loop = asyncio.get_running_loop()
    for _ in range(40):
        loop.run_in_executor(None, threading.Event().wait)


@once
async def replaces_the_time():
    time.time = lambda: 12345.0


@once
async def ignores_signals():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@once
async def handles_signals():
    signal.signal(signal.SIGTERM, odd)


@once
async def handles_signals_in_the_loop():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, odd)


@once
async def blocks_signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})


@once
async def leaves_signals_unseen():
    signal.set_wakeup_fd(-1)


@once
async def exits_in_a_thread():
    threading.Thread(target=sys.exit, args=(3,)).start()


@once
async def goes_elsewhere():
    os.chdir("/")
    os.umask(0o077)


@once
async def stops_collecting():
    gc.disable()
    gc.freeze()


@once
async def bounds_recursion():
    sys.setrecursionlimit(100)


@once
async def replaces_the_policy():
    asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())
    asyncio.set_event_loop(None)


@once
async def stops_the_loop():
    asyncio.get_running_loop().stop()


@once
async def closes_the_loop():
    asyncio.get_running_loop().close()


@once
async def makes_tasks():
    loop = asyncio.get_running_loop()
    loop.set_task_factory(lambda loop, coroutine, **_: asyncio.Task(coroutine, loop=loop))


@once
async def cancels_everything():
    for task in asyncio.all_tasks():
        task.cancel()


@once
async def handles_errors_of_the_loop():
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(odd)
    loop.call_soon(odd)


@once
async def debugs():
    asyncio.get_running_loop().set_debug(True)


@once
def traces():
    threading.settrace(lambda *_: None)
    threading.setprofile(lambda *_: None)


@once
async def takes_warnings_for_errors():
    warnings.simplefilter("error")


@once
async def closes_the_log():
    logging.shutdown()


@once
async def handles_the_log():
    handler = logging.Handler(1)
    handler.emit = odd
    logging.getLogger().addHandler(handler)


@once
async def changes_the_locale():
    locale.setlocale(locale.LC_ALL, "C")


@once
async def replaces_hooks():
    sys.excepthook = threading.excepthook = sys.unraisablehook = odd
    threading.Thread(target=odd).start()


@once
async def clears_the_environment():
    os.environ.clear()


@once
async def replaces_open():
    builtins.open = odd


@once
def blocks_for_ever():
    threading.Event().wait()


@once
async def blocks_the_loop():
    time.sleep(1.5)


@once
async def leaves_tasks():
    async def swallows():
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    async def exits():
        sys.exit(4)

    KEPT.extend(map(asyncio.create_task, (swallows(), exits())))


@once
async def leaves_generators():
    async def generator():
        try:
            yield 1
        finally:
            await asyncio.Event().wait()

    KEPT.append(generator())
    await anext(KEPT[-1])


async def leaks(event):
    if _seen.get():
        os.write(taken("async"), b"leaked\n")
    _seen.set(event.key)


@once
async def hangs_when_deleted():
    class Hangs:
        def __del__(self):
            threading.Event().wait()

    KEPT.append(Hangs())


@once
async def forks_and_stays():
    if os.fork() == 0:
        number = os.open(f"{FOLDER}/child", os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(number, str(os.getpid()).encode())
        time.sleep(3600)
        os._exit(0)


# --- what ends the process --------------------------------------------------------------


@once
async def closes_every_file():
    os.closerange(3, 4096)


@once
def closes_every_file_in_a_thread():
    os.closerange(3, 4096)


@once
async def leaves_at_once():
    os._exit(0)


FORKS = (
    *("forks_and_returns", "forks_in_a_thread", "forks_and_waits", "forks_and_raises"),
    "forks_in_a_callback",
)
TOLD = {
    **dict.fromkeys(FORKS, "has come back into the bridge, and ends here"),
    "ignores_signals": "SIGTERM was taken by ",
    "handles_signals": "SIGTERM was taken by ",
    "handles_signals_in_the_loop": "SIGTERM was taken by ",
    "cancels_everything": "was cancelled without a signal, and goes on",
    "blocks_the_loop": "the event loop is held up at ",
    "leaves_tasks": "would have ended the server, which goes on",
}
"""What the log says of it, where that is more than nothing."""

ENDING = ("closes_every_file", "closes_every_file_in_a_thread", "leaves_at_once")
KINDS = (
    "leaks",
    *(
        name
        for name, each in list(globals().items())
        if getattr(each, "__wrapped__", None) and name not in (*ENDING, "forks_and_stays", "taken")
    ),
)
