"""Files of ours, uploaded to the provider of those who are to get them."""

from __future__ import annotations

import hashlib
import io
import mimetypes
import os
import re
from pathlib import Path
from typing import Final, TypedDict

import attrs

from bridge.adapter import Refused, Route, Uploading
from bridge.adapter.fitting import fit
from bridge.errors import Unsendable
from bridge.model import Media, MediaKind
from bridge.outbox.client import Client
from bridge.outbox.ways import Way
from bridge.process.threads import in_thread

_MIME_TYPE: Final = re.compile(r"[\w.+-]{1,127}/[\w.+-]{1,127}(?:; ?[ -~]{1,200})?", re.ASCII)
_KINDS: Final = {
    "image": MediaKind.IMAGE,
    "audio": MediaKind.AUDIO,
    "video": MediaKind.VIDEO,
}


class Details(TypedDict, total=False):
    """What may be said of a file that is uploaded.

    `mime_type` and `filename` are by default as the path says, `media` as the type does. `caption`
    is sent with it.
    """

    mime_type: str | None
    filename: str | None
    caption: str | None
    media: MediaKind | str | None


async def described(
    file: object,
    *,
    mime_type: str | None = None,
    filename: str | None = None,
    caption: str | None = None,
    media: MediaKind | str | None = None,
) -> Media:
    """Return a file with its size, its checksum and its kind.

    Raises `Unsendable` where it cannot be read, is empty, or nothing tells its type.
    """
    if not isinstance(file, Path | bytes):
        raise Unsendable(f"expected a file's path or bytes, found a {type(file).__name__}")
    if filename is None and isinstance(file, Path):
        filename = file.name
    mime_type = mime_type or mimetypes.guess_type(filename or "")[0]
    if mime_type is None:
        raise Unsendable("nothing tells the file's type: give its mime_type")
    if not _MIME_TYPE.fullmatch(mime_type):  # it stands in a header
        raise Unsendable("mime_type: expected one such as image/png")
    kind = media or _KINDS.get(mime_type.partition("/")[0].lower(), MediaKind.DOCUMENT)
    if kind not in tuple(MediaKind):
        raise Unsendable(f"media: expected one of {', '.join(MediaKind)}")
    try:
        size, sha256 = await in_thread(_measured, file)
    except OSError as error:
        raise Unsendable(f"the file cannot be read: {error.strerror}") from error
    if size == 0:
        raise Unsendable("the file is empty")
    return Media(
        media=MediaKind(kind),
        mime_type=mime_type,
        sha256=sha256,
        size=size,
        filename=filename,
        caption=caption,
    )


def _measured(file: Path | bytes) -> tuple[int, str]:
    with io.BytesIO(file) if isinstance(file, bytes) else file.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
        return content.seek(0, os.SEEK_END), sha256


def accepting(way: Way, route: Route, media: Media) -> Uploading:
    """Return what uploads a file. Raises `Unsendable` where the channel does not carry it."""
    sender = way.sender
    if not isinstance(sender, Uploading):
        raise Unsendable(
            f"adapter {way.source} takes no files: its provider documents no way to; send a link"
        )
    fit(attrs.evolve(media, media_id="new"), way.capabilities(route.channel))
    return sender


async def uploaded(
    client: Client, way: Way, route: Route, media: Media, file: Path | bytes
) -> Media:
    """Upload a file for messages of a route's account, and return it with its id.

    Raises `Unsendable` where the channel does not carry it or the provider refuses it, and
    `Unanswered` where trying again may help.
    """
    sender = accepting(way, route, media)
    upload = sender.upload(media, route.channel, route.account)
    try:
        told = await client.upload(sender, upload, media, file)
    except OSError as error:
        raise Unsendable(f"the file cannot be read: {error.strerror}") from error
    if isinstance(told, Refused):
        raise told.as_error
    return attrs.evolve(media, media_id=told)
