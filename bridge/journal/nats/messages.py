"""The messages that are written and read, and how that can fail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

import attrs

from bridge.errors import JournalError

_NOT_FOUND: Final = 404
_BATCH_HEADERS: Final = 256  # bytes of the headers of a batch, and of a condition
_MAX_SUBJECT: Final = 2048
"""Bytes: a server takes lines of 4096 (max_control_line), in which a reply's subject stands too."""
_HEADER_LINES: Final = len("NATS/1.0\r\n\r\n")
_HEADER_LINE: Final = len(": \r\n")

EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"
TTL: Final = "Nats-TTL"

Headers: TypeAlias = Mapping[str, str]


class Away(JournalError):
    """The servers cannot be reached, or have no leader; whether a write happened is unknown."""


class NoStream(Away):
    """The stream is not there: not yet, or not any more."""


class CutOff(Away):
    """A server closed the connection for good, perhaps because of what was being sent."""


class Conflict(JournalError):
    """Somebody else wrote to a subject meanwhile, so nothing of the batch was written."""


class Unfit(JournalError):
    """A message is larger than the servers take: retrying will not help."""


class Refused(JournalError):
    """A server said no; `status` is its kind of no, `code` the exact one."""

    def __init__(self, status: int, code: int, description: str) -> None:
        self.status = status
        self.code = code
        super().__init__(f"the NATS server refused: {description}")

    @property
    def not_found(self) -> bool:
        """Whether what was asked for does not exist."""
        return self.status == _NOT_FOUND


@attrs.frozen(kw_only=True)
class Stored:
    """A message as a stream keeps it."""

    subject: str
    sequence: int
    data: bytes


@attrs.frozen
class Draft:
    """A message to be written."""

    subject: str
    data: bytes
    headers: Headers = attrs.field(factory=dict)

    @property
    def size(self) -> int:
        """Return how large it is on its way, as one of a batch."""
        lines = sum(len(name) + len(value) + _HEADER_LINE for name, value in self.headers.items())
        return len(self.data) + _HEADER_LINES + lines + _BATCH_HEADERS

    def check(self, largest: int) -> None:
        """Raise `Unfit` where the servers, which take so much, would not take it."""
        if self.size > largest:
            raise Unfit(f"a message of {self.size} bytes is larger than the server takes")
        if len(self.subject) > _MAX_SUBJECT:
            raise Unfit(f"a subject of {len(self.subject)} bytes is longer than the server takes")
