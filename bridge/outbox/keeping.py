"""A subscriber that keeps the files of messages before their provider gives them out no more."""

from __future__ import annotations

import hashlib
import mimetypes
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, final

from bridge.adapter import build
from bridge.errors import ConfigurationError, Problem, Unanswered
from bridge.model import Direction, Event, Media, Message
from bridge.model.keys import event_key, in_domain
from bridge.outbox.media import File
from bridge.process.threads import in_thread

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

    The folder is a path, or the URL of one in any file system that fsspec knows. A file is named
    by its event, so a repetition replaces it with itself. An error of `fetch` passes on to the
    delivery, which tries again or gives up. Raises `ConfigurationError` for a URL that leads
    nowhere.
    """

    def __init__(
        self,
        folder: str | Path,
        fetch: Fetch,
        publish: Callable[[Sequence[Event]], Awaitable[object]],
    ) -> None:
        is_url = isinstance(folder, str) and "://" in folder
        self._folder = _Remote(str(folder)) if is_url else Path(folder)
        self._fetch = fetch
        self._publish = publish

    async def __call__(self, message: Event) -> None:
        """Keep the file of a message, if it is one and has one."""
        if not isinstance(message, Message) or not isinstance(message.content, Media):
            return
        file, path = await self._kept(message)
        notice = build.notice(
            key=event_key("notice", message.channel, f"{TOPIC}/{_digest(message)}"),
            source=message.source,
            channel=message.channel,
            account=message.account,
            occurred_at=message.occurred_at,
            received_at=message.received_at,
            raw=None,
            topic=TOPIC,
            # Whoever wants to be forgotten is looked for among the parties.
            party=message.sender if message.direction is Direction.INBOUND else message.recipient,
            details={
                "message": message.key,
                "path": path,
                "size": file.size,
                "sha256": file.sha256,
                "mime_type": file.media.mime_type,
            },
        )
        if message.domain is not None:
            notice = in_domain(notice, message.domain)
        await self._publish((notice,))

    async def _kept(self, message: Message) -> tuple[File, str]:
        """Keep a file, named by a digest, since an id may hold anything; return where it is."""
        day = message.received_at.strftime("%Y-%m-%d")
        name = _digest(message) + _ending(message.content)
        if isinstance(self._folder, _Remote):
            with tempfile.TemporaryDirectory() as here:
                file = await self._fetch(message, to=Path(here) / name)
                return file, await in_thread(self._folder.put, Path(here) / name, f"{day}/{name}")
        folder = self._folder / day
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            problem = Problem("folder", f"{folder}: cannot be made: {error.strerror}")
            raise ConfigurationError((problem,)) from error
        file = await self._fetch(message, to=folder / name)
        return file, str(file.path)


class _Remote:
    """A folder in a file system of fsspec's.

    https://filesystem-spec.readthedocs.io/en/latest/features.html#url-chaining
    """

    def __init__(self, url: str) -> None:
        try:
            import fsspec  # noqa: PLC0415 - an extra

            for link in url.split("::"):
                fsspec.get_filesystem_class(link.partition("://")[0])
        except ImportError as error:
            told = "needs the extra: pip install incs-bridge[fsspec]"
            if error.name != "fsspec":  # what that file system takes is for its user to install
                told = str(error)
            raise ConfigurationError((Problem("url", told),)) from error
        except ValueError as error:
            raise ConfigurationError((Problem("url", str(error)),)) from error
        self._url = url
        self._url_to_fs = fsspec.url_to_fs

    def put(self, file: Path, name: str) -> str:
        """Copy a file, and return its URL without credentials. Raises `Unanswered`."""
        try:
            system: Any
            system, root = self._url_to_fs(self._url)
            target = f"{root.rstrip('/')}/{name}"
            system.makedirs(target.rpartition("/")[0], exist_ok=True)
            system.put_file(str(file), target)
            return str(system.unstrip_protocol(target))
        except Exception as error:  # each file system has errors of its own
            reason = f"the file cannot be put there: {type(error).__name__}"
            raise Unanswered(reason, in_doubt=False) from error


def _digest(message: Message) -> str:
    return hashlib.sha256(message.key.encode()).hexdigest()[:32]


def _ending(content: object) -> str:
    mime_type = content.mime_type if isinstance(content, Media) else None
    return mimetypes.guess_extension((mime_type or "").partition(";")[0].strip()) or ""
