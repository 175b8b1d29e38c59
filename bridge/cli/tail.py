"""`bridge tail`: a running server's events, as they come."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from bridge.cli.client import Broken, NoServer, Refused, connect
from bridge.cli.filters import Filters
from bridge.cli.options import ServerConfig, ShowPersonalData, moment
from bridge.cli.rendering import EventPrinter, Format
from bridge.cli.terminal import UsageError, say

if TYPE_CHECKING:
    from bridge.cli.asking import Client

_FIRST_PAUSE: Final = 0.2  # seconds
_LONGEST_PAUSE: Final = 5.0


def tail(
    *,
    filters: Filters = Filters(),  # noqa: B008 - frozen
    config: ServerConfig = None,
    json: Annotated[bool, Parameter(help="Print one line of JSON for each.")] = False,
    raw: bool = False,
    since: str | None = None,
    beginning: bool = False,
    show_personal_data: ShowPersonalData = False,
    interactive: Annotated[bool, Parameter(name=["--interactive", "-i"])] = False,
) -> None:
    """Follow a running server's events until Ctrl-C.

    Where the connection breaks, it goes on from where it was as soon as the server is back.

    Example: `bridge tail --kind message --channel whatsapp --since 1h`

    Parameters
    ----------
    raw
        Print one line of JSON for each, as its provider sent it.
    since
        Start in the past: a time such as 2026-01-31T12:00:00Z, or one ago such as 1h.
    beginning
        Start with the oldest event that is kept.
    interactive
        Move through the events with keys: details, retry, open in the browser.
    """
    if beginning and since is not None:
        raise UsageError("--beginning and --since contradict each other")
    if json and raw:
        raise UsageError("--json and --raw contradict each other")
    if interactive and (json or raw):
        raise UsageError("--interactive shows lines for people: leave out --json and --raw")
    if interactive and not sys.stdin.isatty():
        raise UsageError("--interactive needs a terminal")
    start: dict[str, str | int | None] = {"since": moment(since, "--since")}
    if beginning:
        start["after"] = 0
    client = connect(config)
    if interactive:
        from bridge.cli.board import Board, show

        board = Board(client, show_personal_data=show_personal_data)
        show(board, _followed(client, filters, start, board.tell), sys.stdin.fileno())
        return
    form: Format = "json" if json else "raw" if raw else "text"
    printer = EventPrinter(form=form, show_personal_data=show_personal_data)
    for line in _followed(client, filters, start, say):
        if "event" in line:
            printer(line["event"])


def _followed(
    client: Client,
    filters: Filters,
    start: Mapping[str, str | int | None],
    tell: Callable[[str], None],
) -> Iterator[Mapping[str, Any]]:
    """Return the lines of a stream; where it breaks, go on from where it was."""
    wanted = dict(filters.parameters())
    is_connected = False
    pause = 0.0
    while True:
        try:
            for line in client.lines("/events/follow", {**wanted, **start}):
                if pause:
                    tell("the server is back")
                    pause = 0.0
                yield line
                start = {"after": line["position"]}
                is_connected = True
        except (Broken, NoServer, Refused) as error:
            is_away = (
                not isinstance(error, Refused) or error.status == HTTPStatus.SERVICE_UNAVAILABLE
            )
            if not is_connected or not is_away:
                raise
            if not pause:
                tell("the connection broke: waiting for the server")
            pause = min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)
            time.sleep(pause)
