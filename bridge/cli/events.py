"""`bridge events`: a search of a running server's journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bridge.cli.client import Parameters, connect
from bridge.cli.filters import Filters
from bridge.cli.options import (
    AsJson,
    Limit,
    ServerConfig,
    ShowPersonalData,
    Since,
    Until,
    moment,
    refuse_masked,
)
from bridge.cli.rendering import EventPrinter
from bridge.cli.terminal import say

if TYPE_CHECKING:
    from bridge.cli.asking import Client

_PAGE: Final = 1000


def events(
    *,
    filters: Filters = Filters(),  # noqa: B008 - frozen
    config: ServerConfig = None,
    party: str | None = None,
    message_id: str | None = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    json: AsJson = False,
    show_personal_data: ShowPersonalData = False,
) -> None:
    """Search the events that a running server keeps.

    The newest come last.

    Example: `bridge events --party +6281519140327 --since 2d`

    Parameters
    ----------
    party
        Only with this phone number or user id taking part.
    message_id
        Only about the message with this id.
    """
    refuse_masked(party)
    printer = EventPrinter(form="json" if json else "text", show_personal_data=show_personal_data)
    query = {
        **filters.parameters(),
        "party": party,
        "message_id": message_id,
        "since": moment(since, "--since"),
        "until": moment(until, "--until"),
        "newest_first": "true",
    }
    found = _newest(connect(config), query, limit)
    for entry in reversed(found):
        printer(entry["event"])
    if not found:
        say("nothing found")
    elif len(found) == limit:
        say(f"the newest {limit}; there may be more: --limit")


def _newest(client: Client, query: Parameters, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    before = None
    while True:
        size = min(limit - len(found), _PAGE)
        page = client.get("/events", **query, limit=size, before=before)
        found += page["entries"]
        before = page["next"]
        if before is None or len(found) == limit:
            return found
