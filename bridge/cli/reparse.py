"""`bridge reparse`: read unrecognized events again, with a repaired adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bridge.cli.client import connect
from bridge.cli.options import AsJson, Every, ServerConfig, check_named
from bridge.cli.rendering import print_json
from bridge.cli.terminal import Exit, counted, print_line, say
from bridge.model.masking import mask_phones_in

_PAGE: Final = 1000
_TOGETHER: Final = 50


def reparse(
    *keys: str,
    every: Every = False,
    dry_run: bool = False,
    config: ServerConfig = None,
    json: AsJson = False,
) -> int:
    """Read once more what could not be read.

    For after an adapter was repaired. The events have the time at which their callback came. Bodies
    that could be read are marked, so that --all leaves them out the next time. Succeeds if
    everything could be read.

    Example: `bridge reparse --all --dry-run`

    Parameters
    ----------
    keys
        The keys of unrecognized events, as `bridge events --kind unrecognized` prints them.
    dry_run
        Only say what would be read.
    """
    check_named(keys, "events by their keys", every=every)
    client = connect(config)
    chosen = list(dict.fromkeys(keys))
    if every:
        # All of them listed first: a reparsed event no longer matches, which would shift the pages.
        pages = client.pages("/events", kind="unrecognized", mended="false", limit=_PAGE)
        chosen = [entry["event"]["key"] for page in pages for entry in page["entries"]]
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


def _told(found: Mapping[str, Any] | None, *, dry_run: bool) -> str:
    if found is None:
        return "not found, not unrecognized, or of an adapter that is no longer configured"
    events = counted(len(found["keys"]), "event")
    if not dry_run:
        events += f", {found['published']} of them new"
    return events if found["mended"] else f"still unreadable ({events})"
