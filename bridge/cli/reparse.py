"""`bridge reparse`: what could not be read, through a mended adapter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

from cyclopts import Parameter

from bridge.cli.client import Client, connect
from bridge.cli.config import ConfigOption
from bridge.cli.rendering import print_json
from bridge.cli.terminal import Exit, UsageError, print_line, say
from bridge.model import Unrecognized
from bridge.model.masking import mask_phones_in

_PAGE: Final = 1000
_TOGETHER: Final = 50


def reparse(
    *keys: str,
    every: Annotated[bool, Parameter(name="--all")] = False,
    dry_run: bool = False,
    config: ConfigOption = None,
    json: bool = False,
) -> int:
    """Read once more what could not be read.

    For after an adapter was mended. The events come out with the time at which their callback
    came, and what was read is marked, so that --all leaves it out the next time. Succeeds where
    everything could be read.

    Example: `bridge reparse --all --dry-run`

    Parameters
    ----------
    keys
        The keys of unrecognized events, as `bridge events --kind unrecognized` prints them.
    every
        All that have not been read since.
    dry_run
        Only say what would be read.
    config
        The server's configuration; by default $BRIDGE_CONFIG, then ./config.toml.
    json
        Print each as a line of JSON.
    """
    if every == bool(keys):
        raise UsageError("name the events by their keys, or all of them with --all")
    client = connect(config)
    # All of them listed first: what is mended is no longer on the next page.
    chosen = list(_unread(client)) if every else list(dict.fromkeys(keys))
    is_whole = True
    for start in range(0, len(chosen), _TOGETHER):
        some = chosen[start : start + _TOGETHER]
        done = client.post("/reparse", keys=some, dry_run=dry_run)["reparsed"]
        for key in some:
            found = done[key]
            is_whole = is_whole and found is not None and found["mended"]
            if json:
                print_json({"key": mask_phones_in(key), **(found or {"mended": False, "keys": []})})
            else:
                print_line(mask_phones_in(key), _told(found, dry_run=dry_run))
    if not chosen:
        say("there is nothing that could not be read")
    return Exit.OK if is_whole else Exit.FAILURE


def _unread(client: Client) -> Iterator[str]:
    after: int | None = 0
    while after is not None:
        page = client.get(
            "/events", kind=Unrecognized.kind, mended="false", after=after, limit=_PAGE
        )
        yield from (entry["event"]["key"] for entry in page["entries"])
        after = page["next"]


def _told(found: Mapping[str, Any] | None, *, dry_run: bool) -> str:
    if found is None:
        return "not there, not unrecognized, or of an adapter that is gone"
    count = len(found["keys"])
    events = f"{count} event{'' if count == 1 else 's'}"
    if not dry_run:
        events += f", {found['published']} of them new"
    return events if found["mended"] else f"still unreadable ({events})"
