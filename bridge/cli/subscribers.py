"""`bridge subscribers`: who gets events, how far each is, and who is forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cyclopts import App

from bridge.cli.client import connect
from bridge.cli.config import ConfigOption
from bridge.cli.rendering import print_json, print_table
from bridge.cli.terminal import say

subscribers = App(
    name="subscribers",
    help="""List the subscribers, or forget one.

    Example: `bridge subscribers --json`""",
)

_HEADINGS: Final = ("name", "state", "position", "lag", "held", "dead", "failed tries")


@subscribers.default
def list_subscribers(*, config: ConfigOption = None, json: bool = False) -> None:
    """List the subscribers: how far each is, how much it lags behind, what fails.

    `held` events wait for another try or behind one that does, `dead` ones had their last;
    failed tries are counted since the server started.

    Example: `bridge subscribers`

    Parameters
    ----------
    config
        The server's configuration; by default $BRIDGE_CONFIG, then ./config.toml.
    json
        Print a JSON array.
    """
    found = connect(config).get("/subscribers")["subscribers"]
    if json:
        print_json(found)
    else:
        print_table(_HEADINGS, map(_row, found))


@subscribers.command
def forget(name: str, /, *, config: ConfigOption = None) -> None:
    """Forget a subscriber that is no longer configured, with all that it held.

    What it has yet to get is then no longer kept for it.

    Example: `bridge subscribers forget crm`

    Parameters
    ----------
    name
        The subscriber, as `bridge subscribers` lists it.
    config
        The server's configuration; by default $BRIDGE_CONFIG, then ./config.toml.
    """
    connect(config).delete("/subscribers", name)
    say(f"forgot {name}")


def _row(found: Mapping[str, Any]) -> tuple[str, ...]:
    lag = str(found["lag"])
    if found["lag"]:
        lag += f" ({found['lag_seconds']:.0f} s)"
    return (
        found["name"],
        "running" if found["running"] else "not running",
        str(found["position"]),
        lag,
        str(found["held"]),
        str(found["dead"]),
        str(found["failed_tries"]),
    )
