"""Children that somebody forks while a bridge runs: none of them is a second server.

A forked child has a copy of the event loop, and shares the sockets and the files with its parent.
One that calls another program or `os._exit`, as those of `multiprocessing` do, is no harm once it
has let go of what was open. One that returns into the bridge would answer its parent's clients and
take part in its parent's polling, so it ends there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import selectors
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, NoReturn

_TO_SAY: Final = 1.0  # seconds
_EXIT_CODE: Final = 1
_STDERR: Final = 2

_log: Final = logging.getLogger(__name__)


class Forks:
    """How many forks lie between this process and the one that imported this module.

    Who keeps the `count` of its beginning and finds another one is in a child.
    """

    def __init__(self) -> None:
        self.count = 0
        self._let_go: dict[object, Callable[[], object]] = {}
        os.register_at_fork(after_in_child=self._born)

    @contextmanager
    def letting_go(self, let_go: Callable[[], object]) -> Iterator[None]:
        """Call something in each child that is forked until the block ends."""
        key = object()
        self._let_go[key] = let_go
        try:
            yield
        finally:
            self._let_go.pop(key, None)

    def _born(self) -> None:
        self.count += 1
        for let_go in self._let_go.values():
            with suppress(Exception):  # for example OSError: it was closed already
                let_go()
        self._let_go.clear()


forks: Final = Forks()


def let_go_of(descriptors: Iterable[int]) -> None:
    """Have nothing more to do with these sockets, though they stay open in the parent.

    Their numbers lead nowhere then. To close them would leave the numbers to other files, which
    what is left of their users could write to, or take out of the poll that the parent shares.
    """
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in descriptors:
        with suppress(OSError):
            os.dup2(nowhere, descriptor, inheritable=False)
    os.close(nowhere)


def end_in(loop: asyncio.AbstractEventLoop) -> None:
    """End this process, a child, where it goes on with an event loop of its parent's.

    Until then it polls nothing: the parent shares the poll, and would wait in vain for what the
    child has taken out of it.
    """
    loop.call_soon(end_child, "the event loop")
    poll = _poll_of(loop)
    if poll is not None:
        with select.epoll() as empty:
            os.dup2(empty.fileno(), poll, inheritable=False)


def _poll_of(loop: Any) -> int | None:  # noqa: ANN401 - neither of the two tells it in public
    if not hasattr(select, "epoll"):  # elsewhere a child has no part in it
        return None
    if hasattr(loop, "_get_backend_id"):  # uvloop
        return int(loop._get_backend_id())  # noqa: SLF001
    selector = getattr(loop, "_selector", None)
    return selector.fileno() if isinstance(selector, selectors.EpollSelector) else None


def end_child(who: str) -> NoReturn:
    """End this process, a child that has returned into the bridge, with a line that says so."""
    words = (
        f"{who}: a forked process ({os.getpid()}) has come back into the bridge, and ends here: "
        "a child has to call os._exit or another program"
    )
    # In a thread, as another one may have held a lock of the log when this process was forked.
    say = threading.Thread(target=_say, args=(words,), daemon=True)
    say.start()
    say.join(_TO_SAY)
    if say.is_alive():
        with suppress(OSError):  # somebody has closed it
            os.write(_STDERR, f"{words}\n".encode(errors="replace"))
    os._exit(_EXIT_CODE)


def _say(words: str) -> None:
    _log.critical("%s", words)
    for handler in logging.getLogger().handlers:
        handler.flush()
