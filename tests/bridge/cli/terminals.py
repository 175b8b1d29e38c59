"""A terminal that somebody looks at: a pty of 80 columns."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

COLUMNS = 80
_STYLE = re.compile(r"\x1b\[[\d;?]*[a-zA-Z]")


def lines_of(
    *arguments: str,
    folder: Path,
    root: Path,
    until: str | None = None,
    at: tuple[str, Callable[[str], object]] | None = None,
) -> list[str]:
    """Run the command in a terminal, and return the lines that the program wrote, unstyled.

    With `until`, the program is ended once it has written that. With `at`, something is done once
    it has written that, with all that is written until then.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    environ = {
        name: value
        for name, value in os.environ.items()
        if name not in {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"}
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env=environ | {"TERM": "xterm-256color", "PYTHONPATH": str(root)},
    )
    os.close(theirs)
    written = b""
    try:
        while chunk := os.read(ours, 65536):
            written += chunk
            if at is not None and at[0] in _plain(written):
                at[1](_plain(written))
                at = None
            if until is not None and until in _plain(written):
                process.terminate()
                until = None
    except OSError:  # the end, as Linux tells it
        pass
    finally:
        os.close(ours)
        process.wait()
    return _plain(written).replace("\r\n", "\n").splitlines()


def _plain(written: bytes) -> str:
    return _STYLE.sub("", written.decode())
