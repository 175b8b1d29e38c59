"""The filters that `bridge tail`, `events` and `replay` have in common."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import attrs
from cyclopts import Parameter

from bridge.adapter.payload import instant
from bridge.cli.client import Parameters
from bridge.cli.terminal import UsageError
from bridge.model.masking import MASK
from bridge.settings import ContentKind, EventKind, seconds


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


def refuse_masked(*names: str | None) -> None:
    """Raise `UsageError` for what was copied from output that hides a number: nothing fits it."""
    for name in names:
        if name is not None and MASK in name:
            raise UsageError(f"{name} is masked: list it again with --show-personal-data")


def moment(text: str | None, option: str) -> str | None:
    """Return a time that is written as one, or as how long ago. Raises `UsageError`."""
    if text is None:
        return None
    ago = None if text.isdigit() else seconds(text)  # bare digits are a time, if anything
    if ago is not None:
        try:
            return (datetime.now(UTC) - timedelta(seconds=ago)).isoformat()
        except OverflowError:
            pass
    value = instant(text)
    if value is None:
        raise UsageError(
            f'{option}: expected a time such as 2026-01-31T12:00:00Z, or one ago such as "90s", '
            f'"30m", "1h", "2d"; found {text!r}'
        )
    return value.isoformat()
