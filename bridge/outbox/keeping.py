"""A subscriber that keeps the files of messages before their provider gives them out no more."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, Protocol, final

from bridge.adapter import build
from bridge.errors import ConfigurationError, Problem
from bridge.model import Event, Media, Message
from bridge.model.keys import event_key, in_domain
from bridge.outbox.media import File

TOPIC: Final = "media_kept"
"""The topic of the `Notice` that tells where a file is kept."""


class Fetch(Protocol):
    """As `Bridge.fetch`."""

    def __call__(self, message: Message, /, *, to: Path) -> Awaitable[File]:
        """Fetch the file of a message to a path."""
        ...


@final
class Keeper:
    """Fetches the file of each message into a folder, and publishes a `Notice` with its path.

    A file is named by its event, so a repetition replaces it with itself. An error of `fetch`
    passes on to the delivery, which tries again or gives up.
    """

    def __init__(
        self,
        folder: Path,
        fetch: Fetch,
        publish: Callable[[Sequence[Event]], Awaitable[object]],
    ) -> None:
        self._folder = folder
        self._fetch = fetch
        self._publish = publish

    async def __call__(self, message: Message) -> None:
        """Keep the file of a message, if it has one."""
        if not isinstance(message.content, Media):
            return
        file = await self._fetch(message, to=self._path(message))
        notice = build.notice(
            key=event_key("notice", message.channel, f"{TOPIC}/{_digest(message)}"),
            source=message.source,
            channel=message.channel,
            account=message.account,
            occurred_at=message.occurred_at,
            received_at=message.received_at,
            raw=None,
            topic=TOPIC,
            details={
                "message": message.key,
                "path": str(file.path),
                "size": file.size,
                "sha256": file.sha256,
                "mime_type": file.media.mime_type,
            },
        )
        if message.domain is not None:
            notice = in_domain(notice, message.domain)
        await self._publish((notice,))

    def _path(self, message: Message) -> Path:
        """Return where a file is kept: named by a digest, since an id may hold anything."""
        day = self._folder / message.received_at.strftime("%Y-%m-%d")
        try:
            day.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            problem = Problem("folder", f"{day}: cannot be made: {error.strerror}")
            raise ConfigurationError((problem,)) from error
        return day / (_digest(message) + _ending(message.content))


def _digest(message: Message) -> str:
    return hashlib.sha256(message.key.encode()).hexdigest()[:32]


def _ending(content: object) -> str:
    mime_type = content.mime_type if isinstance(content, Media) else None
    return mimetypes.guess_extension((mime_type or "").partition(";")[0].strip()) or ""
