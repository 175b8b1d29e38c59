"""`bridge subscribers`: their positions and failures, and how to forget one."""

from __future__ import annotations

from operator import itemgetter
from typing import Final
from urllib.parse import quote

from cyclopts import App

from bridge.cli.client import connect
from bridge.cli.options import AsJson, ServerConfig
from bridge.cli.rendering import Columns, one_line, print_rows
from bridge.cli.terminal import say

subscribers = App(
    name="subscribers",
    help="""List the subscribers, what one of them tries again, or forget one.

    Example: `bridge subscribers --json`""",
)

COLUMNS: Final[Columns] = {
    "name": itemgetter("name"),
    "state": lambda row: "running" if row["running"] else "not running",
    "position": lambda row: str(row["position"]),
    "lag": lambda row: f"{row['lag']}" + (f" ({row['lag_seconds']:.0f} s)" if row["lag"] else ""),
    "held": lambda row: str(row["held"]),
    "dead": lambda row: str(row["dead"]),
    "failed tries": lambda row: str(row["failed_tries"]),
}


_HELD: Final[Columns] = {
    "key": itemgetter("key"),
    "tries": lambda row: str(row["tries"]),
    "next try": itemgetter("due_at"),
    "error": lambda row: one_line(row.get("error", "")),
}


@subscribers.default
def list_subscribers(*, config: ServerConfig = None, json: AsJson = False) -> None:
    """List the subscribers: how far each is, how much it lags behind, what fails.

    `held` events wait for another try or behind one that does, `dead` ones had their last;
    failed tries are counted since the server started.

    Example: `bridge subscribers`
    """
    print_rows(connect(config).get("/subscribers")["subscribers"], COLUMNS, as_json=json)


@subscribers.command
def held(name: str, /, *, config: ServerConfig = None, json: AsJson = False) -> None:
    """List the events that a subscriber is to try again; each holds up its conversation.

    Example: `bridge subscribers held crm`

    Parameters
    ----------
    name
        The subscriber, as `bridge subscribers` lists it.
    """
    found = connect(config).get(f"/subscribers/{quote(name, safe='')}/held", masked="true")
    rows = [{"key": each.pop("entry")["event"]["key"], **each} for each in found["held"]]
    if rows or json:
        print_rows(rows, _HELD, as_json=json)
    else:
        say("nothing is to be tried again")


@subscribers.command
def forget(name: str, /, *, config: ServerConfig = None) -> None:
    """Forget a subscriber that is no longer configured, with all that it held.

    The journal then keeps no event for it any more.

    Example: `bridge subscribers forget crm`

    Parameters
    ----------
    name
        The subscriber, as `bridge subscribers` lists it.
    """
    connect(config).delete("/subscribers", name)
    say(f"forgot {name}")
