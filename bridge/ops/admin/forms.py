"""A file that comes with a request, as multipart/form-data.

https://datatracker.ietf.org/doc/html/rfc7578
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any, Final

import attrs
from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from bridge.ops.admin.requests import BadRequest, object_of
from bridge.outbox.media import MAX_SIZE
from bridge.outbox.uploads import Details
from bridge.threads import in_thread

FORM: Final = "multipart/form-data"
MESSAGE: Final = "message"
FILE: Final = "file"

_MOST_AT_ONCE: Final = 4
_IN_TIME: Final = 300.0  # seconds
_PIECE: Final = 1 << 18
_MARGIN: Final = 1 << 21  # of the JSON, and of what a form has around its parts
_UNKNOWN: Final = "application/octet-stream"  # what clients write that do not know a file's type
_EXPECTED: Final = f'expected the parts "{MESSAGE}", which is JSON, and "{FILE}"'
_FAULTS: Final = (
    *(ValueError, RuntimeError),  # so the reader says that it is no form
    *(HttpProcessingError, web.RequestPayloadError),
)


@attrs.frozen(kw_only=True)
class Form:
    """The JSON object of a request, and its file, which is at `path` until the block ends."""

    body: dict[str, Any]
    path: Path
    details: Details


class Forms:
    """Reads forms, a few at a time: each takes up to 100 MiB of the disk while it is read."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(_MOST_AT_ONCE)

    @asynccontextmanager
    async def read(self, request: web.Request, allowed: set[str]) -> AsyncIterator[Form]:
        """Give a request's form, whose JSON has no other names than these.

        Raises `BadRequest`, and an error of aiohttp's with the status 413, 408 or 503.
        """
        if (request.content_length or 0) > MAX_SIZE + _MARGIN:
            raise _too_large()
        if self._places.locked():
            reason = f"{_MOST_AT_ONCE} files are being taken already: send it again"
            raise web.HTTPServiceUnavailable(reason=reason)
        async with self._places:
            with _temporary() as spool:
                try:
                    async with asyncio.timeout(_IN_TIME):
                        body, details = await _parts(request, spool)
                except TimeoutError:
                    raise web.HTTPRequestTimeout(reason="the file took too long") from None
                except _FAULTS:
                    raise BadRequest(f"the body is no {FORM} as it should be") from None
                if body is None or details is None:
                    raise BadRequest(_EXPECTED)
                yield Form(body=object_of(body, allowed), path=Path(spool.name), details=details)


def _temporary() -> IO[bytes]:
    try:
        return tempfile.NamedTemporaryFile(prefix="bridge-")
    except OSError as error:
        raise _no_room(error) from None


async def _parts(request: web.Request, spool: IO[bytes]) -> tuple[bytes | None, Details | None]:
    """Write the file, and return the JSON and the file's details in the form."""
    body: bytes | None = None
    details: Details | None = None
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            raise BadRequest(_EXPECTED)
        if part.name == MESSAGE and body is None:
            body = bytes(await part.read())
        elif part.name == FILE and details is None:
            declared = part.headers.get("Content-Type", _UNKNOWN)
            details = Details(
                filename=_name(part.filename),
                mime_type=None if declared == _UNKNOWN else declared,
            )
            await _copy(part, spool)
        else:
            raise BadRequest(_EXPECTED)
    return body, details


def _name(given: str | None) -> str:
    name = Path(given or "").name or FILE
    if not name.isprintable():
        raise BadRequest("file: its name has characters that cannot be printed")
    return name


async def _copy(part: BodyPartReader, spool: IO[bytes]) -> None:
    size = 0
    while not part.at_eof():
        piece = await part.read_chunk(_PIECE)
        size += len(piece)
        if size > MAX_SIZE:
            raise _too_large()
        try:
            await in_thread(spool.write, piece)
        except OSError as error:
            raise _no_room(error) from None
    await in_thread(spool.flush)


def _too_large() -> web.HTTPRequestEntityTooLarge:
    reason = f"the file is larger than {MAX_SIZE >> 20} MiB"
    return web.HTTPRequestEntityTooLarge(MAX_SIZE, reason=reason)


def _no_room(error: OSError) -> web.HTTPInsufficientStorage:
    return web.HTTPInsufficientStorage(reason=f"the file cannot be kept: {error.strerror}")
