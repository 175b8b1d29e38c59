"""`bridge tail`: a running server's events, as they come."""

from __future__ import annotations

import time
from http.client import SERVICE_UNAVAILABLE
from typing import Annotated, Final

from cyclopts import Parameter

from bridge.cli.client import Broken, NoServer, Refused, connect
from bridge.cli.filters import Filters
from bridge.cli.options import ServerConfig, ShowPersonalData, moment
from bridge.cli.rendering import EventPrinter, Format
from bridge.cli.terminal import UsageError, say

_FIRST_PAUSE: Final = 0.2  # seconds
_LONGEST_PAUSE: Final = 5.0


def tail(
    *,
    filters: Filters = Filters(),  # noqa: B008 - frozen
    config: ServerConfig = None,
    form: Annotated[Format, Parameter(name=["--format", "-f"])] = "text",
    since: str | None = None,
    beginning: bool = False,
    show_personal_data: ShowPersonalData = False,
) -> None:
    """Follow a running server's events until Ctrl-C.

    Where the connection breaks, it goes on from where it was as soon as the server is back.

    Example: `bridge tail --kind message --channel whatsapp --since 1h`

    Parameters
    ----------
    form
        A line for people, our JSON, or the provider's own.
    since
        Start in the past: a time such as 2026-01-31T12:00:00Z, or one ago such as 1h.
    beginning
        Start with the oldest event that is kept.
    """
    if beginning and since is not None:
        raise UsageError("--beginning and --since contradict each other")
    printer = EventPrinter(form=form, show_personal_data=show_personal_data)
    client = connect(config)
    wanted = dict(filters.parameters())
    start: dict[str, str | int | None] = {"since": moment(since, "--since")}
    if beginning:
        start["after"] = 0
    is_connected = False
    pause = 0.0
    while True:
        try:
            for line in client.lines("/events/follow", wanted | start):
                if pause:
                    say("the server is back")
                    pause = 0.0
                if "event" in line:
                    printer(line["event"])
                start = {"after": line["position"]}
                is_connected = True
        except (Broken, NoServer, Refused) as error:
            is_away = not isinstance(error, Refused) or error.status == SERVICE_UNAVAILABLE
            if not is_connected or not is_away:
                raise
            if not pause:
                say("the connection broke: waiting for the server")
            pause = min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)
            time.sleep(pause)
