"""Where a provider keeps the files of its messages. Pure, as sending is: the outbox fetches."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from bridge.adapter.contract import Response
from bridge.adapter.sending import Request
from bridge.model import Media


@runtime_checkable
class MediaSource(Protocol):
    """An adapter whose provider gives files out by their ids, which takes credentials.

    A file with a link of its own needs no such adapter.
    """

    def lookup(self, media: Media, /) -> Request:
        """Return the request that asks where a file is.

        Raises `Unfetchable` for a file that has no id, and `ConfigurationError` with the name of
        each setting that this lacks.
        """
        ...

    def located(self, media: Media, response: Response, /) -> tuple[Media, Request]:
        """Return what that response tells of the file, and the request that fetches it.

        Raises `Unfetchable` where the response is an error, `Unanswered` where that may pass.
        """
        ...
