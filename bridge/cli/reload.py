"""`bridge serve --dev`: start the server again when its code or configuration changes."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from math import inf
from pathlib import Path
from threading import Event
from typing import Final

from watchfiles import PythonFilter, watch

from bridge.cli import config as configuration
from bridge.cli.stopping import SIGNALS
from bridge.cli.terminal import Exit, say
from bridge.errors import BridgeError
from bridge.settings import CONSOLE, MEDIA, WEBHOOK

_LOOK_EVERY: Final = 100  # milliseconds; how soon the end of the server is seen
_PATIENCE: Final = 5.0  # seconds for a server to end before the next one starts


def supervise(command: Sequence[str], program: str | None, config: Path | None) -> int:
    """Run a command, again after each change in what `watched` returns, until a signal stops it.

    Returns the command's exit code where it ends by itself and well.
    """
    is_changed = PythonFilter(extra_extensions=(".toml", config.suffix if config else ".toml"))
    child: subprocess.Popen[bytes] | None = None

    def again(number: int) -> None:
        if child is not None:
            child.send_signal(number)  # it ends at once

    with _stop_event(again) as stopped:
        while not stopped.is_set():
            code = None
            for changes in watch(
                *watched(program, config),
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
        code = Exit.OK if child is None else end(child, patience=inf)
        return code if code >= 0 else 128 - code  # as a shell tells that a signal ended it


def watched(program: str | None, config: Path | None) -> set[Path]:
    """Return the folder of the program or the configuration, and where else their code is."""
    folder = Path.cwd() if config is None else config.absolute().parent
    names = {(program or "").partition(":")[0]}
    with suppress(BridgeError):  # for example in the middle of an edit
        configuration.make_importable(folder)
        if config is not None:
            names = {entry.use for entry in configuration.read(config).subscribers.values()}
    modules = {name.partition(":")[0].partition(".")[0] for name in names}
    sources = [path for module in modules for path in _sources(module)]
    return {folder, *(path for path in sources if not path.is_relative_to(folder))}


def _sources(module: str) -> list[Path]:
    """Return the folder of a package, or the file of a module; none of it is run."""
    try:
        spec = None if module in (CONSOLE, WEBHOOK, MEDIA) else find_spec(module)
    except (ImportError, ValueError):
        return []
    if spec is None or not spec.has_location or spec.origin is None:
        return []
    places = spec.submodule_search_locations
    return [Path(spec.origin)] if places is None else list(map(Path, places))


def end(child: subprocess.Popen[bytes], patience: float = _PATIENCE) -> int:
    """Tell a server to stop, kill it where it takes longer, and return its code.

    To wait for ever, give infinity: then it looks often, and a signal that came just as it began
    to wait is seen.
    """
    child.terminate()
    try:
        return child.wait(patience)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


@contextmanager
def _stop_event(again: Callable[[int], None]) -> Iterator[Event]:
    """Give an event that the first signal sets; `again` is called with each later one."""
    stopped = Event()

    def handle(number: int, _: object) -> None:
        if stopped.is_set():
            again(number)
        stopped.set()

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
