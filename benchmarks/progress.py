"""Says how far a long run is, on standard error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeAlias

from rich.console import Console

Tell: TypeAlias = Callable[[str], None]
"""What a section tells each step to."""


class Progress:
    """One line that changes in a terminal, and a line for each step elsewhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self._began = time.perf_counter()

    @contextmanager
    def section(self, name: str) -> Iterator[Tell]:
        """Give what the steps of a section are told to; nothing of it stays in a terminal."""
        with self._console.status(name) if self._console.is_terminal else nullcontext() as status:

            def tell(step: str) -> None:
                minutes, seconds = divmod(int(time.perf_counter() - self._began), 60)
                line = f"{minutes:3}:{seconds:02}  {name}: {step}"
                if status is None:
                    self._console.print(line)
                else:
                    status.update(line)

            yield tell


def telling(tell: Tell, what: str) -> Tell:
    """Return one that says first what the steps belong to."""
    return lambda step: tell(f"{what}, {step}")
