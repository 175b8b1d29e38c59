"""The command `bridge`, also as `python -m bridge`."""

import sys
from typing import NoReturn

_INTERRUPTED = 130


def main() -> NoReturn:
    """Load the command line and run it; Ctrl-C meanwhile ends it as it does later."""
    try:
        from bridge.cli.main import main as run  # noqa: PLC0415 - it takes a while

        run()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
