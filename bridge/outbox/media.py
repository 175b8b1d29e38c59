"""Files of messages, fetched from where their provider keeps them.

A file is bounded, written beside its place and moved there once it is whole, and compared with
the checksum and the size that its message told. Where a link leads is somebody else's word:
nothing is fetched from an address that is not public, however a name or a redirect gets there,
except from where the adapter's own settings say that the provider is.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Self, TypeAlias, final

import attrs
from yarl import URL

from bridge.adapter import MediaSource, Request
from bridge.errors import Unanswered, Unfetchable
from bridge.model import Media
from bridge.outbox.client import Client
from bridge.process.lazy import later
from bridge.process.threads import in_thread

if TYPE_CHECKING:
    import aiohttp
else:
    aiohttp = later("aiohttp")

MAX_SIZE: Final = 100 * 1024 * 1024
"""How many bytes a file may have: as many as the largest that a provider takes."""

Progress: TypeAlias = Callable[[int, int | None], object]
"""Called with how many bytes have come, and how many there are, as far as that is known."""

_MOST_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_SUCCESS: Final = 200
_COMPRESSED: Final = frozenset(
    {"gzip", "x-gzip", "deflate", "br", "zstd", "compress", "dcb", "dcz"}
)
_LONGEST: Final = 300.0  # seconds that one file may take altogether
_MOST_AT_ONCE: Final = 10  # files on their way
_PIECE: Final = 1024 * 1024
_TRANSLATED: Final = IPv6Network("64:ff9b::/96")  # https://www.rfc-editor.org/rfc/rfc6052
_INTERNET: Final = IPv6Network("2000::/3")
"""All that is given to the internet: https://www.iana.org/assignments/ipv6-address-space

Python takes more for it, such as what stands for an IPv4 address in one more way (RFC 2765)."""


@final
@attrs.frozen(kw_only=True)
class File:
    """A file that was fetched: its bytes are in `content`, or at `path` where one was given."""

    media: Media
    size: int
    sha256: str
    content: bytes = attrs.field(default=b"", repr=False)
    path: Path | None = None


class NotPublic(OSError):
    """A name leads to an address that is not public."""


@final
class Downloads:
    """Fetches files; an async context manager, to be shared between tasks.

    `origins` may be fetched from although they are not public. `client` asks providers where a
    file is. `silence` is for how many seconds nothing of a file may come.
    """

    def __init__(self, client: Client, *, silence: float = 30.0) -> None:
        self._client = client
        self._silence = silence
        self.origins: set[URL] = set()
        self._public: aiohttp.ClientSession | None = None
        self._own: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the sessions."""
        from bridge.outbox.resolving import PublicResolver  # noqa: PLC0415 - HTTP, as `later`

        self._public = self._session(PublicResolver())
        self._own = self._session(aiohttp.DefaultResolver())
        return self

    def _session(self, resolver: aiohttp.abc.AbstractResolver) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_MOST_AT_ONCE, resolver=resolver),
            timeout=aiohttp.ClientTimeout(
                total=_LONGEST, connect=self._silence, sock_read=self._silence
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,  # a small body must not become a large one
        )

    async def __aexit__(self, *_: object) -> None:
        """Close the sessions and their connections."""
        for session in (self._public, self._own):
            if session is not None:
                await session.close()
        self._public = self._own = None

    async def fetch(
        self,
        media: Media,
        source: object = None,
        *,
        to: Path | None = None,
        max_size: int = MAX_SIZE,
        progress: Progress | None = None,
    ) -> File:
        """Fetch a file, into memory or to a path, where it appears once it is whole.

        `source` is the adapter that told of it: where that can ask for a file by its id, it does,
        since a link may want credentials, or have run out. Raises `Unfetchable` where trying
        again will not help, `Unanswered` where it may, and `ConfigurationError` where
        credentials are missing.
        """
        provider: URL | None = None
        if media.media_id is not None and isinstance(source, MediaSource):
            lookup = source.lookup(media)
            told = await self._client.exchange(lookup)
            provider = URL(lookup.url).origin()
            media, request = source.located(media, told)
        elif media.url is not None:
            request = Request(method="GET", url=media.url)
        else:
            raise Unfetchable("it has no link, and its adapter cannot ask for it by an id")
        async with self._opened(request, provider) as answer:
            announced = answer.content_length
            if max(announced or 0, media.size or 0) > max_size:
                raise Unfetchable(f"it is larger than {max_size} bytes")
            writing = _Writing(to, max_size, progress, media.size or announced)
            try:
                async for piece in answer.content.iter_chunked(_PIECE):
                    await writing.take(piece)
                return await writing.done(media)
            finally:
                writing.close()

    @asynccontextmanager
    async def _opened(
        self, request: Request, provider: URL | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Give the response that holds a file, redirects followed.

        Credentials go to the address that the provider named, and to no other.
        """
        if self._public is None or self._own is None:
            raise Unanswered("the outbox is not open", in_doubt=False)
        url, headers = _checked(request.url), dict(request.headers)
        for _ in range(_MOST_REDIRECTS + 1):
            is_own = url.origin() in self.origins or url.origin() == provider
            if not is_own and _literal(url) and not is_public(url.host or ""):
                raise Unfetchable("its link leads to an address that is not public")
            session = self._own if is_own else self._public
            try:
                async with session.get(url, headers=headers, allow_redirects=False) as answer:
                    if answer.status not in _REDIRECTS:
                        _check(answer)
                        yield answer
                        return
                    beyond = _checked(answer.headers.get("Location", "none:"), url)
            except (TimeoutError, aiohttp.ClientError, OSError, UnicodeError) as error:
                raise _failure(error) from error
            if beyond.origin() != url.origin():
                headers = {}
            url = beyond
        raise Unfetchable(f"its link leads on more than {_MOST_REDIRECTS} times")


class _Writing:
    """A file on its way: counted, hashed, and written beside its place."""

    def __init__(
        self, to: Path | None, max_size: int, progress: Progress | None, total: int | None
    ) -> None:
        self._to = to
        self._max_size = max_size
        self._progress = progress
        self._total = total
        self._hash = hashlib.sha256()
        self._size = 0
        self._pieces: list[bytes] = []
        self._file: BinaryIO | None = None
        if to is not None:
            # Only its owner may read it: `mkstemp` sees to that.
            try:
                handle, self._beside = tempfile.mkstemp(dir=to.parent, prefix=f".{to.name}.")
            except OSError as error:
                reason = f"{to.parent}: no file can be written here: {error.strerror}"
                raise Unfetchable(reason) from error
            self._file = os.fdopen(handle, "wb")

    async def take(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._max_size:
            raise Unfetchable(f"it is larger than {self._max_size} bytes")
        self._hash.update(piece)
        if self._file is None:
            self._pieces.append(piece)
        else:
            await self._on_disk(self._file.write, piece)
        if self._progress is not None:
            self._progress(self._size, self._total)

    async def done(self, media: Media) -> File:
        found = self._hash.hexdigest()
        if media.size is not None and media.size != self._size:
            raise Unanswered(f"{self._size} bytes came instead of {media.size}", in_doubt=False)
        if media.sha256 is not None and media.sha256.lower() != found:
            raise Unfetchable("its content is not the one that its checksum was made of")
        if self._file is not None and self._to is not None:
            await self._on_disk(self._finish, self._file, self._to)
        return File(
            media=media,
            size=self._size,
            sha256=found,
            content=b"".join(self._pieces),
            path=self._to,
        )

    async def _on_disk(self, do: Callable[..., object], *arguments: object) -> None:
        try:
            await in_thread(do, *arguments)
        except OSError as error:
            reason = f"the file cannot be written: {error.strerror}"
            raise Unanswered(reason, in_doubt=False) from error

    def _finish(self, file: BinaryIO, to: Path) -> None:
        file.flush()
        os.fsync(file.fileno())
        Path(self._beside).replace(to)

    def close(self) -> None:
        """Leave nothing behind but a file that is whole."""
        if self._file is not None:
            self._file.close()
            with suppress(FileNotFoundError):
                Path(self._beside).unlink()


def is_public(address: str) -> bool:
    """Whether an address is one of the internet's, as is any IPv4 address that it stands for."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        translated = IPv4Address(int(found) & 0xFFFFFFFF) if found in _TRANSLATED else None
        meant = found.ipv4_mapped or found.sixtofour or translated
        if meant is None and found not in _INTERNET:
            return False
        found = meant or found
    return found.is_global and not found.is_multicast


def _literal(url: URL) -> bool:
    """Whether the host is an address itself, for which no resolver is asked."""
    try:
        ip_address(url.host or "")
    except ValueError:
        return False
    return True


def _checked(link: str, seen_from: URL | None = None) -> URL:
    """Return a link as a URL. Raises `Unfetchable` where it is none that we fetch."""
    try:
        url = URL(link) if seen_from is None else seen_from.join(URL(link))
    except ValueError:
        raise Unfetchable("its link is no URL") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise Unfetchable("its link is no URL of http or https")
    if seen_from is not None and seen_from.scheme == "https" and url.scheme != "https":
        raise Unfetchable("its link leads from https to http")
    return url


def _check(answer: aiohttp.ClientResponse) -> None:
    """Raise `Unfetchable` or `Unanswered` where a response does not hold a file as it is."""
    status = answer.status
    if status == _SUCCESS:
        codings = answer.headers.get("Content-Encoding", "").lower().replace(",", " ").split()
        if not _COMPRESSED.isdisjoint(codings):  # stores also say "aws-chunked" or "utf-8" there
            raise Unfetchable("it comes compressed, though it was asked for as it is")
        return
    if status in (408, 425, 429) or status >= 500:  # noqa: PLR2004 - the server's own trouble
        raise Unanswered(f"HTTP {status} instead of the file", in_doubt=False)
    raise Unfetchable(f"HTTP {status} instead of the file")


def _failure(error: BaseException) -> Unfetchable | Unanswered:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    # A `UnicodeError` is of a name in which a label is empty, or too long.
    if isinstance(error, aiohttp.InvalidURL | UnicodeError):
        return Unfetchable("its link is no URL of http or https")
    if isinstance(cause, NotPublic):
        return Unfetchable("its link leads to an address that is not public")
    if isinstance(error, TimeoutError):
        return Unanswered("the file did not come in time", in_doubt=False)
    return Unanswered(f"the connection failed: {type(error).__name__}", in_doubt=False)
