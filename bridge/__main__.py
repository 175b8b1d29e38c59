"""The command `bridge`, also as `python -m bridge`."""

import os
import sys
import threading
from typing import NoReturn

_INTERRUPTED = 130
_TO_EXIT = 2.0  # seconds


def main() -> NoReturn:
    """Load the command line and run it; Ctrl-C meanwhile ends it as it does later."""
    _complete_streams()
    try:
        from bridge.cli.main import main as run  # noqa: PLC0415 - it takes a while

        run()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except SystemExit as end:
        # Threads of a subscriber's module would keep the process from ending.
        timer = threading.Timer(_TO_EXIT, os._exit, (end.code,))
        timer.daemon = True
        timer.start()
        raise


def _complete_streams() -> None:
    """Open nothing where whoever started this process closed a standard stream.

    The next file or connection would get its number, and what is written there.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003 - by position
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - for good


if __name__ == "__main__":
    main()
