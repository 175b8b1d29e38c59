"""`bridge serve --dev`: start the server again when its code or configuration changes.

Files are looked at twice a second rather than through a notification of the system's, which
does not reach into containers and network drives, and would be one more thing to install.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Final, TypeAlias

from bridge.cli import config as configuration
from bridge.cli.terminal import Exit, say
from bridge.errors import BridgeError
from bridge.settings import CONSOLE

_LOOK_EVERY: Final = 0.5  # seconds
_PATIENCE: Final = 5.0  # seconds for a server to end before the next one starts

_Seen: TypeAlias = Mapping[Path, int]


class _Stopped(Exception):
    """This process has been told to stop: no error, somebody pressed Ctrl-C."""


def supervise(command: Sequence[str], watched: Callable[[], Iterable[Path]]) -> int:
    """Run a command, again after each change of the watched files, until told to stop.

    Returns the command's exit code where it ends by itself and well.
    """
    child: subprocess.Popen[bytes] | None = None
    with _stoppable():
        try:
            while True:
                seen = _look(watched())
                # In a group of its own: Ctrl-C would reach it twice, which cuts its end short.
                child = subprocess.Popen(command, process_group=0)  # noqa: S603 - ourselves
                while (code := _ended(child)) is None and _look(watched()) == seen:
                    pass
                if code == Exit.OK:
                    return code
                if code is None:
                    say("something has changed: starting again")
                    end(child)
                    continue
                say(f"the server ended with {code}; it starts again when something changes")
                while _look(watched()) == seen:
                    time.sleep(_LOOK_EVERY)
        except _Stopped:
            return Exit.OK if child is None else end(child, patience=None)


def files_of(path: Path) -> Iterator[Path]:
    """Return what a configuration's server is made of: itself, and its subscribers' code.

    A configuration that cannot be read, as while somebody edits it, has itself only.
    """
    yield path
    try:
        settings = configuration.read(path)
    except BridgeError:
        return
    modules = {
        entry.use.partition(":")[0].partition(".")[0]
        for entry in settings.subscribers.values()
        if entry.use != CONSOLE
    }
    for module in sorted(modules):
        yield from _sources(_spec(module))


def _spec(module: str) -> ModuleSpec | None:
    try:
        return find_spec(module)  # of a module at the top, it runs nothing
    except (ImportError, ValueError):
        return None


def _sources(spec: ModuleSpec | None) -> Iterator[Path]:
    if spec is None:
        return
    if spec.submodule_search_locations is None:
        if spec.origin is not None and spec.has_location:
            yield Path(spec.origin)
        return
    for place in spec.submodule_search_locations:
        yield from Path(place).rglob("*.py")


def _look(paths: Iterable[Path]) -> _Seen:
    seen = {}
    for path in paths:
        try:
            seen[path] = path.stat().st_mtime_ns
        except OSError:  # gone, or just being replaced: a change too
            seen[path] = 0
    return seen


def _ended(child: subprocess.Popen[bytes]) -> int | None:
    try:
        return child.wait(_LOOK_EVERY)
    except subprocess.TimeoutExpired:
        return None


def end(child: subprocess.Popen[bytes], patience: float | None = _PATIENCE) -> int:
    """Tell a server to stop, cut its end short where it takes long, and return its code."""
    child.terminate()
    try:
        return child.wait(patience)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


@contextmanager
def _stoppable() -> Iterator[None]:
    """Raise `_Stopped` in the block at the first SIGTERM or SIGINT; later ones change nothing."""
    told = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal told
        if not told:
            told = True
            raise _Stopped

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
