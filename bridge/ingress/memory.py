"""The memory that all bodies together may take until they are durable."""

from __future__ import annotations

from typing import Final, Self, final

from bridge.errors import BodyRefused, Fault

_FREE: Final = 64 << 10
"""Bytes of each body that do not count. The number of connections bounds these. Most bodies are
smaller, so they are taken even while large ones fill the memory."""


@final
class Memory:
    """The bytes that are left for bodies."""

    __slots__ = ("left",)

    def __init__(self, size: int) -> None:
        self.left = size


@final
class Room:
    """What one body takes of the memory, until the end of the context."""

    __slots__ = ("_memory", "_taken")

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._taken = 0

    def take(self, size: int) -> None:
        """Make room for a body that has come to this size. Raises `BodyRefused`."""
        more = size - _FREE - self._taken
        if more <= 0:
            return
        if more > self._memory.left:
            raise BodyRefused(Fault.NO_MEMORY)
        self._memory.left -= more
        self._taken += more

    def __enter__(self) -> Self:
        """Begin with a body of which nothing has come."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give back what the body took."""
        self._memory.left += self._taken
