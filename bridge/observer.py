"""What happens inside, for whoever measures it.

A hook is a callable that is given each of these as it happens, on the event loop and on the way
of the callback or delivery itself: it has to be quick, must not block and must not raise. Where
there is no hook, nothing is made for one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TypeAlias, final

import attrs

from bridge.journal.protocol import Appended
from bridge.model import Event
from bridge.model.frozen import quick_init


class Answer(StrEnum):
    """What became of a callback."""

    ACCEPTED = "accepted"
    NOT_AUTHENTIC = "not_authentic"
    MALFORMED = "malformed"
    METHOD_REFUSED = "method_refused"
    BODY_REFUSED = "body_refused"
    NOT_STORED = "not_stored"


class Result(StrEnum):
    """What became of one try of a delivery; `dead` is a failure after which no try follows."""

    DONE = "done"
    FAILED = "failed"
    DEAD = "dead"


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Received:
    """A callback was answered; `appended` is None where there was nothing to be appended.

    `append_seconds` is how long the journal took, also where it failed.
    """

    adapter: str
    answer: Answer
    events: Sequence[Event] = ()
    appended: Appended | None = None
    append_seconds: float | None = None


@attrs.frozen(kw_only=True)
class Tried:
    """A subscriber was given an event, and took it or failed."""

    subscriber: str
    result: Result
    error: BaseException | None = None


@attrs.frozen(kw_only=True)
class Died:
    """A task of ours that serves a subscriber ended, and was replaced."""

    subscriber: str


Hook: TypeAlias = Callable[[Received | Tried | Died], None]
"""Whoever measures."""
