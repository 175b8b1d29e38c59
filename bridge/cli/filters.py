"""The filters that `bridge tail`, `events` and `replay` have in common."""

from __future__ import annotations

from typing import Annotated

import attrs
from cyclopts import Parameter

from bridge.cli.client import Parameters
from bridge.cli.options import refuse_masked
from bridge.model.kinds import ContentKind, EventKind


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Filters:
    """Which events are meant; without any, all of them.

    Parameters
    ----------
    kind
        Only these kinds of events: message, status_change and so on; may be repeated.
    channel
        Only this channel's, such as whatsapp.
    account
        Only this account's: the business's id on the channel.
    conversation
        Only this conversation's.
    content
        Only messages with this kind of content, such as text or media.
    """

    kind: Annotated[tuple[EventKind, ...], Parameter(consume_multiple=False)] = ()
    channel: str | None = None
    account: str | None = None
    conversation: str | None = None
    content: ContentKind | None = None

    def parameters(self) -> Parameters:
        """Return them as the server takes them. Raises `UsageError`."""
        refuse_masked(self.conversation)
        return attrs.asdict(self)
