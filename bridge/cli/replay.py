"""`bridge replay`: events once more, to subscribers that had them already."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from bridge.cli.client import Parameters, connect
from bridge.cli.filters import Filters
from bridge.cli.options import AsJson, ServerConfig, Until, moment
from bridge.cli.rendering import Columns, print_rows
from bridge.cli.terminal import Exit, UsageError, fail, is_terminal, say, talk

if TYPE_CHECKING:
    from bridge.cli.asking import Client

_TOGETHER: Final = 500
_COLUMNS: Final[Columns] = {
    "subscriber": lambda row: row["subscriber"],
    "events": lambda row: str(row["events"]),
}


def replay(
    *keys: str,
    filters: Filters = Filters(),  # noqa: B008 - frozen
    since: str | None = None,
    until: Until = None,
    subscriber: str | None = None,
    dry_run: bool = False,
    rate: Annotated[float | None, Parameter(validator=Number(gt=0))] = None,
    config: ServerConfig = None,
    json: AsJson = False,
) -> int:
    """Give subscribers events once more.

    The events keep their keys and are marked as replayed. Events that its filters exclude or that
    it has not reached yet are left out; those that wait for a retry are retried now. Prints the
    number of events per subscriber.

    Example: `bridge replay --since 2h --until 1h --subscriber crm --rate 50`

    Parameters
    ----------
    keys
        The events' keys, as the log, `bridge tail` and `bridge events` print them, masked or not.
    since
        Instead of keys, all from this time on: 2026-01-31T12:00:00Z, or one ago such as 1h.
    subscriber
        Only to this one; with keys, the default is every subscriber whose filters match.
    dry_run
        Only count.
    rate
        At most so many events a second.
    """
    if bool(keys) == (since is not None):
        raise UsageError("name the events by their keys, or by their time with --since")
    if since is not None and subscriber is None:
        raise UsageError("--since needs --subscriber")
    if keys and (until is not None or filters != Filters()):
        raise UsageError("filters go with --since: a key says already which event it is")
    client = connect(config)
    query: Parameters = {
        **filters.parameters(),
        "since": moment(since, "--since"),
        # Else a busy server's new events would be found without end.
        "until": moment(until, "--until") or datetime.now(UTC).isoformat(),
    }
    pace = None if dry_run else rate
    to = {"subscriber": subscriber, "dry_run": dry_run}
    counts: Counter[str] = Counter()
    unknown: list[str] = []
    for done in _named(client, keys, to, pace) if keys else _found(client, query, to, pace):
        counts.update(done["subscribers"])
        unknown += done["unknown"]
    rows = [{"subscriber": name, "events": count} for name, count in counts.items()]
    if rows or json:
        print_rows(rows, _COLUMNS, as_json=json)
    elif not unknown:
        say("nothing found")
    for key in unknown:
        fail(f"the journal keeps no event of this key: {key}")
    return Exit.FAILURE if unknown else Exit.OK


def _named(
    client: Client, keys: Sequence[str], to: Mapping[str, object], rate: float | None
) -> Iterator[Mapping[str, Any]]:
    """Replay events by their keys; yield the answers."""
    size = _size(rate)
    for start in range(0, len(keys), size):
        if start and rate is not None:
            time.sleep(size / rate)
        yield client.post("/replay", keys=keys[start : start + size], **to)


def _found(
    client: Client, query: Parameters, to: Mapping[str, object], rate: float | None
) -> Iterator[Mapping[str, Any]]:
    """Replay what a search finds; yield the answers."""
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    size = _size(rate)
    with Progress(
        TextColumn("{task.completed:,.0f} events"),
        TimeElapsedColumn(),
        console=talk(),
        transient=True,
        redirect_stdout=False,
        disable=not is_terminal(sys.stderr),
    ) as progress:
        task = progress.add_task("", total=None)
        after: int | None = 0
        while after is not None:
            done = client.post("/replay", {**query, "after": after, "limit": size}, **to)
            yield done
            progress.advance(task, sum(done["subscribers"].values()))
            after = done["next"]
            if after is not None and rate is not None:
                time.sleep(size / rate)


def _size(rate: float | None) -> int:
    """Return how many events go together: a second's worth at most where there is a rate."""
    return _TOGETHER if rate is None else max(1, min(int(rate), _TOGETHER))
