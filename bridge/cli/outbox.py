"""`bridge outbox`: how sending stands, and what to do about what failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import itemgetter
from typing import Any, Final

from bridge.cli.client import connect
from bridge.cli.options import AsJson, ServerConfig
from bridge.cli.rendering import (
    Columns,
    one_line,
    print_facts,
    print_json,
    print_rows,
    short_time,
)
from bridge.cli.terminal import at_most, counted, is_terminal, print_wrapped


def _standing(row: Mapping[str, Any]) -> str:
    if not row["begun"]:
        return "put off"
    return "in doubt" if "error" in row else "under way"


def _time(text: str) -> str:
    return short_time(text) if is_terminal() else text


_HELD: Final[Columns] = {
    "key": lambda row: row["entry"]["event"]["key"],
    "standing": _standing,
    "tries": lambda row: str(row["tries"]),
    "next try": lambda row: _time(row["due_at"]),
    "reason": lambda row: one_line(row.get("error", "")),
}
_FAILURES: Final[Columns] = {
    "adapter": itemgetter("source"),
    "status": itemgetter("status"),
    "code": lambda row: one_line(row["code"] or ""),
    "title": lambda row: one_line(row["title"] or ""),
    "messages": lambda row: str(row["count"]),
    "last": lambda row: _time(row["last_at"]),
    "what to do": lambda row: row["advice"] or "",
}
_NARROW: Final[Columns] = {
    name: _FAILURES[name] for name in ("adapter", "status", "code", "messages", "last", "title")
}


def outbox(*, config: ServerConfig = None, json: AsJson = False) -> None:
    """Show what waits to be sent, what is in doubt, and what failed and what to do about it.

    Of a message in doubt nobody knows whether the provider has it; what is put off waits for its
    time, for a limit, or for trouble to pass. Each holds up its conversation.
    Refused are those that `send` and `reply` did not take since the server started. Failures are
    those among the newest 1,000 statuses.

    Example: `bridge outbox`
    """
    found = connect(config).get("/outbox", masked="true")
    if json:
        print_json(found)
        return
    print_facts(_facts(found))
    if found["held"]:
        print_rows(found["held"], _HELD)
    if found["failures"] and is_terminal():
        print_rows(found["failures"], _NARROW, cut="title")
        for told in dict.fromkeys(map(_advice, found["failures"])):
            print_wrapped(told)
    elif found["failures"]:
        print_rows(found["failures"], _FAILURES)


def _advice(row: Mapping[str, Any]) -> str:
    what = one_line(row["code"] or row["title"] or row["status"])
    return f"{what}: {row['advice']}" if row["advice"] else ""


def _facts(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    sending = found["sending"]
    if sending is None:
        yield "sending", "nothing can be sent: no adapter has what that takes"
    else:
        # Behind the outbox's position there may be events of other kinds too.
        yield "waiting", at_most(sending["waiting"], "message")
        yield "put off", counted(found["put_off"], "message")
        yield "under way", counted(found["under_way"], "message")
        yield "in doubt", counted(found["in_doubt"], "message")
        yield "dead", counted(sending["dead"], "message")
    refusals = (f"{count} by {reason}" for reason, count in found["refusals"].items())
    yield "refused", ", ".join(refusals) or "none"
