"""`bridge status`: what an operator looks at first, on one screen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, Final

from rich.filesize import decimal

from bridge.cli.client import connect
from bridge.cli.options import AsJson, ServerConfig
from bridge.cli.rendering import Columns, one_line, print_facts, print_json, print_rows
from bridge.cli.subscribers import COLUMNS
from bridge.cli.terminal import Exit, at_most, counted
from bridge.model.masking import mask_phones_in

_SUBSCRIBERS: Final[Columns] = {name: cell for name, cell in COLUMNS.items() if name != "position"}
_UNITS: Final = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def status(*, config: ServerConfig = None, json: AsJson = False) -> int:
    """Show whether a running server is well: its journal, its sources, its subscribers.

    A source is an adapter: when its last callback was taken, and what was refused and why.

    Fails where it is not ready to take callbacks.

    Example: `bridge status`
    """
    found = connect(config).get("/status")
    if found["last_event"]:
        found["last_event"]["key"] = mask_phones_in(found["last_event"]["key"])
    if json:
        print_json(found)
    else:
        print_facts(_facts(found))
        print_rows(found["sources"], _SOURCES)
        print_rows(found["subscribers"], _SUBSCRIBERS)
    return Exit.OK if found["ready"] else Exit.FAILURE


def _facts(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield (
        "ready",
        ("yes" if found["ready"] else "no") + (f": {found['reason']}" if found["reason"] else ""),
    )
    yield "server", f"incs-bridge {found['version']}, running for {_age(found['started_at'])}"
    yield "adapters", ", ".join(found["adapters"]) or "none"
    yield "journal", _journal(found)
    last = found["last_event"]
    yield "last event", f"{_age(last['received_at'])} ago, {last['key']}" if last else "none"
    sends = found["sends"]
    if sends is None:
        yield "sends", "no adapter sends"
    else:
        # Behind the outbox's position there may be events of other kinds too.
        waiting = at_most(sends["waiting"], "message")
        yield "sends", f"{waiting} to go out, {sends['dead']} given up"
    for name in ("lag", "held", "dead"):
        yield name, counted(sum(each[name] for each in found["subscribers"]), "event")


def _journal(found: Mapping[str, Any]) -> str:
    if found["size"] is None and not found["ready"]:
        return "not known while it is not ready"
    if found["size"] is None:
        return "on its servers" if found["durable"] else "in memory"
    text = f"{decimal(found['size'])}, {decimal(found['free'])} free on its disk"
    return text if found["spooled"] is None else f"{text}, {found['spooled']} events in the spool"


def _last(source: Mapping[str, Any]) -> str:
    at = source["accepted_at"]
    text = f"{_age(at)} ago" if at else "none since the start"
    return f"{text}: nothing for 20 minutes" if source["quiet"] else text


def _age(moment: str) -> str:
    """Return how long ago a time was, in its two largest units."""
    seconds = max(0, round((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()))
    parts: list[str] = []
    for name, size in _UNITS:
        count, seconds = divmod(seconds, size)
        if count or parts:
            parts.append(f"{count} {name}")
    return " ".join(parts[:2]) or "0 s"


_SOURCES: Final[Columns] = {
    "adapter": itemgetter("name"),
    "last callback": _last,
    "refused": lambda row: ", ".join(f"{n}: {one_line(why)}" for why, n in row["refusals"].items()),
}
