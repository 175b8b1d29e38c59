"""What a server is asked, over HTTP; `--help` does without, as HTTP takes long to import."""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import quote, urlencode
from uuid import uuid4

import orjson

from bridge.cli.client import Broken, Mistaken, NoServer, Parameters, Refused
from bridge.cli.terminal import UsageError
from bridge.settings.wording import base_url, reached_at

if TYPE_CHECKING:
    from bridge.settings import AdminSettings

_PATIENCE: Final = 60.0  # seconds; a search of a large journal may take a while
_SILENCE: Final = 30.0  # seconds; a stream says every ten that it is still there
_UPLOAD: Final = 400.0  # seconds; the server gives the file to a provider before it answers
_PIECE: Final = 1 << 20
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_MISTAKEN: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND})
_FAULTS: Final = (OSError, http.client.HTTPException)


class Client:
    """Asks a server's admin listener; every method raises `NoServer` and `Refused`."""

    def __init__(self, settings: AdminSettings) -> None:
        self._socket = settings.own_socket
        self._host = reached_at(settings.host)
        self._port = settings.port
        self._headers = {"Accept": "application/json"}
        if settings.own_token is not None:
            self._headers["Authorization"] = f"Bearer {settings.own_token.reveal()}"

    def get(self, path: str, **parameters: str | int | tuple[str, ...] | None) -> Any:  # noqa: ANN401 - JSON
        """Return what is there."""
        return self._ask("GET", _target(path, parameters))

    def pages(self, path: str, **parameters: str | int | None) -> Iterator[Any]:
        """Return the pages of a list, in its order."""
        after: int | None = 0
        while after is not None:
            page = self.get(path, **parameters, after=after)
            yield page
            after = page["next"]

    def post(self, path: str, parameters: Parameters | None = None, /, **body: object) -> Any:  # noqa: ANN401
        """Ask for something to be done."""
        return self._ask("POST", _target(path, parameters or {}), _json(body))

    def post_file(
        self, path: str, message: Mapping[str, object], file: BinaryIO, mime_type: str | None
    ) -> Any:  # noqa: ANN401 - JSON
        """Ask for something to be done with a file, which goes as multipart/form-data."""
        boundary, size = uuid4().hex, os.fstat(file.fileno()).st_size
        name = quote(os.fsencode(Path(file.name).name).decode(errors="replace"), safe="")
        part = f"--{boundary}\r\nContent-Disposition: form-data; name="
        head = (
            f"{part}message\r\n"
            f"Content-Type: application/json\r\n\r\n{_json(message).decode()}\r\n"
            f"{part}file; filename*=utf-8''{name}\r\n"
            f"Content-Type: {mime_type or 'application/octet-stream'}\r\n\r\n"
        ).encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + size + len(tail)),
        }
        body = chain((head,), _pieces(file, size), (tail,))
        return self._ask("POST", path, body, headers, _UPLOAD)

    def delete(self, path: str, name: str) -> Any:  # noqa: ANN401 - JSON
        """Ask for something to be gone."""
        with _typed():
            target = f"{path}/{quote(name, safe='')}"
        return self._ask("DELETE", target)

    def lines(self, path: str, parameters: Parameters) -> Iterator[Any]:
        """Return the objects of a stream as they come. Raises `Broken` where it ends."""
        with self._streamed(_target(path, parameters), _SILENCE) as response:
            while line := response.readline():
                yield orjson.loads(line)
        raise Broken("the server ended the stream")

    def copy(self, path: str, write: Callable[[bytes], object]) -> None:
        """Write what is there, as it comes. Raises `Broken` where it breaks off."""
        with self._streamed(path, _PATIENCE) as response:
            while piece := response.read(_PIECE):
                write(piece)

    @contextmanager
    def _streamed(self, target: str, timeout: float) -> Iterator[http.client.HTTPResponse]:
        connection, response = self._open("GET", target, None, timeout)
        try:
            yield response
        except (*_FAULTS, orjson.JSONDecodeError) as error:
            raise Broken("the connection broke") from error
        finally:
            connection.close()

    def _ask(
        self,
        method: str,
        target: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
        timeout: float = _PATIENCE,
    ) -> Any:  # noqa: ANN401 - JSON
        connection, response = self._open(method, target, body, timeout, headers)
        try:
            return orjson.loads(response.read())
        except (*_FAULTS, orjson.JSONDecodeError) as error:
            raise NoServer(f"{self.url} does not answer as a bridge does") from error
        finally:
            connection.close()

    @property
    def url(self) -> str:
        """Where the server is asked."""
        return base_url(self._host, self._port) if self._socket is None else f"unix:{self._socket}"

    def _open(
        self,
        method: str,
        target: str,
        body: bytes | Iterable[bytes] | None,
        timeout: float,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = (
            http.client.HTTPConnection(self._host, self._port, timeout=timeout)
            if self._socket is None
            else _Local(self._socket, timeout=timeout)
        )
        try:
            # It may answer before all is sent.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, target, body, {**self._headers, **headers})
            response = connection.getresponse()
            if response.status == HTTPStatus.OK:
                return connection, response
            detail = self._detail(response.status, response.read())
        except PermissionError as error:
            connection.close()
            raise NoServer(f"{self.url} is for the user alone that the server runs as") from error
        except _FAULTS as error:
            connection.close()
            raise NoServer(
                f"no server answers at {self.url}: is `bridge serve` running, "
                "and with this configuration?"
            ) from error
        connection.close()
        refused = Mistaken if response.status in _MISTAKEN else Refused
        raise refused(response.status, detail)

    def _detail(self, status: int, body: bytes) -> str:
        if status == HTTPStatus.UNAUTHORIZED:
            ours = "another" if "Authorization" in self._headers else "none"
            return f"the server at {self.url} wants its token: [admin] here has {ours}"
        try:
            return str(orjson.loads(body)["detail"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return f"the server answered {status}"


class _Local(http.client.HTTPConnection):
    """A connection to a server on this machine, by its socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect; raise `PermissionError` also where another user's server would be told."""
        from bridge.settings.admin import address_of

        if self._path.stat().st_uid not in (0, os.geteuid()) and os.geteuid() != 0:
            raise PermissionError
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(address_of(self._path))


def _pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size:
        piece = file.read(min(size, _PIECE))
        if not piece:
            raise UsageError(f"{file.name} became shorter while it was sent")
        size -= len(piece)
        yield piece


def _target(path: str, parameters: Parameters) -> str:
    given = {name: value for name, value in parameters.items() if value not in (None, ())}
    with _typed():
        return f"{path}?{urlencode(given, doseq=True)}" if given else path


def _json(body: Mapping[str, object]) -> bytes:
    with _typed():
        return orjson.dumps(body)


@contextmanager
def _typed() -> Iterator[None]:
    """Refuse arguments that are no text: Python has surrogates for bytes that are no UTF-8."""
    try:
        yield
    except (UnicodeEncodeError, orjson.JSONEncodeError) as error:
        raise UsageError("an argument is not UTF-8") from error
