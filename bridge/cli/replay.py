"""`bridge replay`: events once more, to subscribers that had them already."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from bridge.cli.client import Client, Parameters, connect
from bridge.cli.config import ConfigOption
from bridge.cli.filters import Filters, moment
from bridge.cli.rendering import print_json, print_table
from bridge.cli.terminal import Exit, UsageError, fail

_TOGETHER: Final = 500


def replay(
    *keys: str,
    filters: Filters = Filters(),  # noqa: B008 - frozen
    since: str | None = None,
    until: str | None = None,
    subscriber: str | None = None,
    dry_run: bool = False,
    rate: Annotated[float | None, Parameter(validator=Number(gt=0))] = None,
    config: ConfigOption = None,
    json: bool = False,
) -> int:
    """Give subscribers events once more.

    The events keep their keys, and a subscriber is told that this is a replay. What it does not
    want, or has yet to get for the first time, is left out. Prints how many each subscriber
    gets.

    Example: `bridge replay --since 2h --until 1h --subscriber crm --rate 50`

    Parameters
    ----------
    keys
        The events' keys, as `bridge tail` and `bridge events` print them.
    since
        Instead of keys, all from this time on: 2026-01-31T12:00:00Z, or one ago such as 1h.
    until
        With --since: only before this time; by default up to now.
    subscriber
        Only to this one; for KEYs, the default is everyone who wants them.
    dry_run
        Only count.
    rate
        At most so many events a second.
    config
        The server's configuration; by default $BRIDGE_CONFIG, then ./config.toml.
    json
        Print a JSON object.
    """
    if bool(keys) == (since is not None):
        raise UsageError("name the events by their keys, or by their time with --since")
    if since is not None and subscriber is None:
        raise UsageError("--since needs --subscriber: who is to get so many events once more?")
    if keys and (until is not None or filters != Filters()):
        raise UsageError("filters go with --since: a key says already which event it is")
    client = connect(config)
    query: Parameters = {
        **filters.parameters(),
        "since": moment(since, "--since"),
        # Else a busy server's new events would be found without end.
        "until": moment(until, "--until") or datetime.now(UTC).isoformat(),
    }
    source = iter(keys) if keys else _found(client, query)
    counts: Counter[str] = Counter()
    unknown: list[str] = []
    for some in _paced(source, None if dry_run else rate):
        done = client.post("/replay", keys=some, subscriber=subscriber, dry_run=dry_run)
        counts.update(done["subscribers"])
        unknown += done["unknown"]
    if json:
        print_json({"subscribers": counts, "unknown": unknown})
    else:
        print_table(
            ("subscriber", "would get" if dry_run else "gets"),
            ((name, str(count)) for name, count in counts.items()),
        )
    for key in unknown:
        fail(f"the journal keeps no event of this key: {key}")
    return Exit.FAILURE if unknown else Exit.OK


def _found(client: Client, query: Parameters) -> Iterator[str]:
    after: int | None = 0
    while after is not None:
        page = client.get("/events", **query, after=after, limit=_TOGETHER)
        yield from (entry["event"]["key"] for entry in page["entries"])
        after = page["next"]


def _paced(keys: Iterable[str], rate: float | None) -> Iterator[list[str]]:
    """Cut keys into batches, a second's worth at a time where there is a rate."""
    source = iter(keys)
    size = _TOGETHER if rate is None else max(1, min(int(rate), _TOGETHER))
    batch = list(islice(source, size))
    while batch:
        yield batch
        following = list(islice(source, size))
        if following and rate is not None:
            time.sleep(len(batch) / rate)
        batch = following
