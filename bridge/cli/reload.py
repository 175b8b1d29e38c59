"""`bridge serve --dev`: start the server again when its code or configuration changes."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import Final

from watchfiles import PythonFilter, watch

from bridge.cli import config as configuration
from bridge.cli.terminal import Exit, say
from bridge.errors import BridgeError
from bridge.settings import CONSOLE

_LOOK_EVERY: Final = 100  # milliseconds; how soon the end of the server is seen
_PATIENCE: Final = 5.0  # seconds for a server to end before the next one starts


def supervise(command: Sequence[str], config: Path) -> int:
    """Run a command, again after each change in what `watched` returns, until a signal stops it.

    Returns the command's exit code where it ends by itself and well.
    """
    is_changed = PythonFilter(extra_extensions=(config.suffix,))
    child: subprocess.Popen[bytes] | None = None
    with _stop_event() as stopped:
        while not stopped.is_set():
            code = None
            for changes in watch(
                *watched(config),
                watch_filter=is_changed,
                stop_event=stopped,
                rust_timeout=_LOOK_EVERY,
                yield_on_timeout=True,
            ):
                if child is None:  # only now, so that no change goes unseen
                    # In a group of its own: Ctrl-C would reach it twice, which cuts its end short.
                    child = subprocess.Popen(command, process_group=0)  # noqa: S603 - ourselves
                elif changes:
                    break
                elif child.poll() == Exit.OK:
                    return Exit.OK
                elif code is None and (code := child.returncode) is not None:
                    say(f"the server ended with {code}; it starts again when something changes")
            if child is not None and not stopped.is_set():
                if child.poll() is None:
                    say("something has changed: starting again")
                end(child)
                child = None
        return Exit.OK if child is None else end(child, patience=None)


def watched(config: Path) -> set[Path]:
    """Return the configuration's folder, and where else its subscribers' code is."""
    folder = config.absolute().parent
    paths = {folder}
    try:
        entries = configuration.read(config).subscribers.values()
    except BridgeError:  # for example in the middle of an edit
        return paths
    for module in {entry.use.partition(":")[0].partition(".")[0] for entry in entries}:
        paths |= {path for path in _sources(module) if not path.is_relative_to(folder)}
    return paths


def _sources(module: str) -> list[Path]:
    """Return the folder of a package, or the file of a module; none of it is run."""
    try:
        spec = None if module == CONSOLE else find_spec(module)
    except (ImportError, ValueError):
        return []
    if spec is None or not spec.has_location or spec.origin is None:
        return []
    places = spec.submodule_search_locations
    return [Path(spec.origin)] if places is None else list(map(Path, places))


def end(child: subprocess.Popen[bytes], patience: float | None = _PATIENCE) -> int:
    """Tell a server to stop, kill it where it takes longer, and return its code."""
    child.terminate()
    try:
        return child.wait(patience)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


@contextmanager
def _stop_event() -> Iterator[Event]:
    """Give an event that the first SIGTERM or SIGINT sets; no signal ends the block by itself."""
    stopped = Event()
    signals = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in signals}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
