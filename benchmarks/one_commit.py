"""The bridge with each append in a commit of its own: `python -m benchmarks.one_commit serve`.

Everything else is as in `bridge`: what the two differ by is what committing together gives.
"""

from __future__ import annotations

from functools import partialmethod

from bridge.cli.main import main
from bridge.journal.sqlite import SqliteJournal

if __name__ == "__main__":
    # There is no setting for it, since nobody would want it.
    alone = partialmethod(SqliteJournal.__init__, max_group=1)
    SqliteJournal.__init__ = alone  # type: ignore[method-assign,assignment]
    main()
