"""Where a provider keeps the files of messages. Pure, as sending is: the outbox moves the bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, final, runtime_checkable

import attrs

from bridge.adapter.contract import Response
from bridge.adapter.sending import Refused, Request
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
        """Return the file as that response describes it, and the request that fetches it.

        Raises `Unfetchable` where the response is an error, `Unanswered` where that may pass.
        """
        ...


@final
@attrs.frozen(kw_only=True)
class Upload:
    """A request that takes a file, whose bytes the client adds.

    With `form`, the body is multipart/form-data: these fields, then the file as `file`. Without
    it, the file is the body.
    """

    request: Request
    form: Mapping[str, str] | None = None


@runtime_checkable
class Uploading(Protocol):
    """A sender whose provider keeps files that messages name by their ids."""

    def upload(self, media: Media, channel: str, account: str | None, /) -> Upload:
        """Return the request that uploads a file for messages of an account.

        `media` has the file's `mime_type`, `size` and `sha256`. Raises `Unsendable`, and nothing
        else.
        """
        ...

    def uploaded(self, response: Response, /) -> str | Refused:
        """Return the id that the response to that request gives the file; never raises."""
        ...
