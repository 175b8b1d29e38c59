"""How `bridge serve` ends: in time whatever is still at work, and at once if it is told twice.

The handlers of signals only pass on what they are told, since they may interrupt anything. A
thread sees to it that the process ends, so that it does although the event loop is blocked.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, Final, NoReturn, Self

from bridge.cli.terminal import Exit
from bridge.delivery.functions import name_of, place_of
from bridge.errors import BridgeError
from bridge.ops import log
from bridge.process.forked import forks

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_ONE: Final = 0.01  # seconds within which signals are one: a terminal and a parent both send it
_TO_CLOSE: Final = 1.8  # seconds after the drain's, to cancel what is left and close the journal
_TO_EXIT: Final = 2.0  # seconds, once all is closed
_TO_SAY: Final = 0.3  # seconds
_LOOK_EVERY: Final = 0.2  # seconds; how long a signal may be somebody else's, or go unseen
_HELD_UP: Final = 1.0  # seconds in which the event loop did not come round

_log: Final = logging.getLogger(__name__)


class Stopping:
    """Waits for the signals that stop a server; a context manager of the main thread.

    From the first one on the process has `drain_timeout` seconds, and a moment to close what is
    open. After that, and at the second one, it ends without waiting: nothing is lost by that
    which a journal on disk keeps. `at_work` tells in words who is still at work.
    """

    def __init__(self, drain_timeout: float, at_work: Callable[[], str]) -> None:
        self._drain_timeout = drain_timeout
        self._at_work = at_work
        self._told_at: float | None = None
        self._before: dict[signal.Signals, Any] = {}
        self._told: SimpleQueue[float | signal.Signals] = SimpleQueue()
        self._code = Exit.FAILURE
        self._handler = self._handle  # the same object each time
        self._stack = ExitStack()
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._starting = asyncio.current_task()
        self._came_round = time.monotonic()
        self.signal: signal.Signals | None = None

    def __enter__(self) -> Self:
        """Handle the signals, also SIGINT where it was ignored; `nohup` keeps its SIGHUP."""
        for number in SIGNALS:
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handler)
        threading.Thread(target=self._watch, name="stopping", daemon=True).start()
        self._wake()
        self._stack.enter_context(forks.letting_go(self._give_back))
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the process a moment to end by itself; a signal still ends it at once."""
        self._stack.close()
        if self._told_at is None:
            self._give_back()
            return
        self._code = Exit.OK
        until = self._told_at + self._drain_timeout + _TO_CLOSE
        now = time.monotonic()
        self._told.put(min(now + _TO_EXIT, max(until, now + _TO_EXIT / 4)))

    def _give_back(self) -> None:
        before, self._before = self._before, {}
        for number, handler in before.items():
            signal.signal(number, handler)

    def _keep_signals(self) -> None:
        """Handle the signals again where a subscriber or a library took them."""
        for number in self._before:
            found = signal.getsignal(number)
            if found is not self._handler:
                signal.signal(number, self._handler)
                told = "%s was taken by %s, and stops the server all the same"
                _log.critical(told, number.name, _named(found))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._before)

    @contextmanager
    def only_by_signals(self) -> Iterator[None]:
        """Let nobody take it for an orderly end that the server was cancelled without a signal.

        Raises `BridgeError`.
        """
        try:
            yield
        except asyncio.CancelledError:
            if self.signal is None:
                raise BridgeError("the server's task was cancelled while it started") from None
            raise

    async def wait(self) -> signal.Signals:
        """Return the first signal. One that comes before this is called cancels the caller.

        Nobody else ends it by that: a subscriber may cancel every task that it finds.
        """
        server, self._starting = self._starting, None
        while not self._stop.is_set():
            self._came_round = time.monotonic()
            self._keep_signals()
            try:
                async with asyncio.timeout(_LOOK_EVERY):
                    await self._stop.wait()
            except TimeoutError:
                continue
            except asyncio.CancelledError:
                if server is not None:
                    server.uncancel()
                _log.critical("the server's task was cancelled without a signal, and goes on")
        await asyncio.sleep(_ONE)
        assert self.signal is not None  # noqa: S101 - it was told just now
        return self.signal

    def _handle(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if self._told_at is None:
            self._told_at = now
            self.signal = signal.Signals(number)
            self._told.put(now + self._drain_timeout + _TO_CLOSE)
            self._loop.call_soon_threadsafe(self._begin)
        elif now - self._told_at > _ONE:
            self._told.put(signal.Signals(number))

    def _begin(self) -> None:
        self._stop.set()
        if self._starting is not None:
            self._starting.cancel()

    def _wake(self) -> None:
        """Wake the loop soon: a signal that came just as it began to wait is handled only then."""
        self._loop.call_later(_LOOK_EVERY, self._wake)

    def _watch(self) -> None:
        until: float | None = None
        held_up = 0.0
        while True:
            patience = _LOOK_EVERY if until is None else max(0.0, until - time.monotonic())
            try:
                told = self._told.get(timeout=patience)
            except Empty:
                if until is None:
                    held_up = self._tell_held_up(held_up)
                    continue
                self._end(self._code, "ended without waiting any longer")
            if isinstance(told, signal.Signals):
                self._end(128 + told, f"ended at once by a second signal, {told.name}")
            until = told

    def _tell_held_up(self, told: float) -> float:
        """Log once who holds up the event loop; return since when it is."""
        since = self._came_round
        if self._starting is None and time.monotonic() - since > _HELD_UP and told != since:
            _log.critical(
                "the event loop is held up at %s: nothing is taken, and nothing delivered; what "
                "blocks belongs into a plain function",
                place_of(_main_frame()),
            )
            return since
        return told

    def _end(self, code: int, why: str) -> NoReturn:
        # In a thread, as whoever should take the line may take for ever.
        say = threading.Thread(target=self._say, args=(why,), daemon=True)
        say.start()
        say.join(_TO_SAY)
        os._exit(code)

    def _say(self, why: str) -> None:
        who = self._at_work() or "no subscriber was at work"
        _log.error("%s: %s; the main thread was at %s", why, who, place_of(_main_frame()))
        log.flush(_TO_SAY)


def _main_frame() -> FrameType:
    return sys._current_frames()[threading.main_thread().ident or 0]  # noqa: SLF001


def _named(handler: object) -> str:
    """Describe a handler of signals."""
    if isinstance(handler, signal.Handlers):
        return handler.name
    return name_of(handler) if callable(handler) else "a library"
