"""The operators' Unix socket, which needs no token: the mode of its file admits one user."""

from __future__ import annotations

import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from bridge.errors import ConfigurationError, Problem
from bridge.settings.admin import address_of

_BACKLOG: Final = 100
_OWNERS_ALONE: Final = 0o600


@contextmanager
def bound(path: Path) -> Iterator[socket.socket]:
    """Listen on a socket of mode 0600 until the block ends.

    A socket that a killed server left behind is replaced. Raises `ConfigurationError` where a
    server answers there, the file is no socket, or no socket can be made.
    """
    try:
        listener, own = _listening(path)
    except OSError as error:
        reason = f"cannot listen on {path}: {error.strerror or error}; or set admin.token"
        raise ConfigurationError((Problem("admin.socket", reason),)) from error
    try:
        yield listener
    finally:
        with suppress(OSError):
            if path.lstat().st_ino == own:  # not another server's that came after
                path.unlink()
        listener.close()


def _listening(path: Path) -> tuple[socket.socket, int]:
    """Return the socket, and the number of its file. Raises `OSError`."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Nobody else can enter this directory, so that the mode is right before it can be reached.
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as private:
            made = Path(private, "s")
            listener.bind(address_of(made))
            made.chmod(_OWNERS_ALONE)
            listener.listen(_BACKLOG)
            _check_free(path)
            made.rename(path)
        return listener, path.lstat().st_ino
    except BaseException:
        listener.close()
        raise


def _check_free(path: Path) -> None:
    """Raise `OSError` unless there is no file, or a socket that no server listens on."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(None, "there is something else")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, suppress(ConnectionError):
        probe.connect(address_of(path))
        raise FileExistsError(None, "another server answers there")
