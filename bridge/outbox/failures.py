"""What failed lately, by the provider's code, and what to do about it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import attrs

from bridge.adapter import Remedy
from bridge.errors import ConfigurationError
from bridge.journal.protocol import Journal
from bridge.journal.query import MOST, Query
from bridge.model import ProviderError, Status, StatusChange
from bridge.model.masking import mask_phones_in
from bridge.outbox.ways import Ways

IN_DOUBT: Final = ProviderError(
    code="in_doubt", title="nobody knows whether the provider took it; it was not sent again"
)
EXPIRED: Final = ProviderError(code="expired", title="it could not be sent in time")
CUT_OFF: Final = ProviderError(code="cut_off", title="an earlier part of the text has failed")
OPTED_OUT: Final = ProviderError(
    code="opted_out", title="the user has opted out of marketing since it was asked for"
)
UNSENDABLE: Final = "unsendable"

FAILED: Final = frozenset({Status.FAILED, Status.EXPIRED})
_OURS: Final[Mapping[str | None, str]] = {
    IN_DOUBT.code: "Find out whether the user has it; replay it to the outbox if not.",
    EXPIRED.code: "See why it waited, and send it anew if it is still wanted.",
    OPTED_OUT.code: Remedy.OPTED_OUT.advice,
    CUT_OFF.code: "See why an earlier part has failed, and send the text anew.",
    UNSENDABLE: "The channel cannot carry this content: correct it and send it anew.",
}


@attrs.frozen(kw_only=True)
class Failure:
    """The messages of one adapter that failed with the same code.

    `status` is failed or expired; `code` and `title` are the provider's, or the bridge's own.
    `remedy` is None for the bridge's own codes and where the adapter sends no more, `advice` says
    in words what to do. `position` is that of the last such status, received at `last_at`.
    """

    source: str
    status: Status
    code: str | None
    title: str | None
    count: int
    remedy: Remedy | None
    advice: str | None
    position: int
    last_at: datetime


async def failures(journal: Journal, ways: Ways) -> Sequence[Failure]:
    """Return the failures among the newest 1,000 statuses, the most recent first.

    Titles show no phone. Raises `JournalError`.
    """
    about = Query(kinds=(StatusChange.kind,), newest_first=True, limit=MOST)
    groups: defaultdict[object, list[tuple[int, StatusChange]]] = defaultdict(list)
    for entry in await journal.search(about):
        change = entry.event
        if isinstance(change, StatusChange) and change.status in FAILED:
            code = None if change.error is None else change.error.code
            groups[change.source, change.status, code].append((entry.position, change))
    return [_failure(some, ways) for some in groups.values()]


def _failure(some: Sequence[tuple[int, StatusChange]], ways: Ways) -> Failure:
    position, last = some[0]
    error = last.error or ProviderError()
    advice = _OURS.get(error.code)
    remedy = None if advice else _remedy(last.source, error, ways)
    return Failure(
        source=last.source,
        status=last.status,
        code=error.code,
        title=None if error.title is None else mask_phones_in(error.title),
        count=len(some),
        remedy=remedy,
        advice=advice if remedy is None else remedy.advice,
        position=position,
        last_at=last.received_at,
    )


def _remedy(source: str, error: ProviderError, ways: Ways) -> Remedy | None:
    try:
        return ways.of(source).sender.remedy(error)
    except ConfigurationError:
        return None
