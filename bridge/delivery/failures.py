"""What is noted and logged of attempts that failed."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextvars import Context
from typing import Final

import attrs

from bridge import errors
from bridge.delivery.attempt import Later, delay
from bridge.delivery.functions import chain_of, exc_info_of, name_of, where_of
from bridge.errors import (
    ConfigurationError,
    Drop,
    NotRunning,
    NotTaken,
    RetryIn,
    Stop,
    Unanswered,
    Unfetchable,
    Unsendable,
)
from bridge.journal.protocol import Held, Retry
from bridge.model import Event
from bridge.model.masking import mask_phones_in
from bridge.observer import Result
from bridge.process.clock import Clock
from bridge.process.raised import described, is_a, kind_of
from bridge.process.throttle import Throttle
from bridge.settings import DeliverySettings

_HOPELESS: Final = (Drop, Unfetchable, Unsendable)  # no other try would end better
# Their texts quote neither the event nor what was sent, so that a log may tell them; an account may
# be a phone.
_DISCREET: Final = (
    *(ConfigurationError, NotRunning, NotTaken),
    *(Unanswered, Unfetchable, Unsendable),
)

_log: Final = logging.getLogger(__name__)


@attrs.frozen(kw_only=True, eq=False)
class Failures:
    """Judges the failures of one subscriber.

    Log lines call the subscriber `who`, and `last` is what they say of a failure after which no
    other try follows.
    """

    subscriber: str
    who: str
    last: str
    function: Callable[[Event], object]
    policy: DeliverySettings
    clock: Clock
    _throttle: Throttle = attrs.field(factory=lambda: Throttle(_log))

    def result_of(self, error: BaseException | None, tries: int) -> Result | None:
        """Return what an attempt means after so many tries; None: it has not come to an end."""
        if error is None:
            return Result.DONE
        if is_a(error, Stop) or (is_a(error, Later) and not error.counted):
            return None
        is_last = not is_a(error, Later) and self._is_last(error, tries + 1)
        return Result.DEAD if is_last else Result.FAILED

    def _is_last(self, error: BaseException, tries: int) -> bool:
        return is_a(error, _HOPELESS) or tries >= self.policy.tries

    def failed(self, held: Held, error: BaseException, context: Context) -> tuple[Retry, float]:
        """Log a failure in the context of its attempt; return its record, and when to try again.

        That is in so many seconds, or never where the record is due at no time.
        """
        now = self.clock.time()
        tries = held.retry.tries + 1
        is_last = self._is_last(error, tries)
        asked = _asked(error) if is_a(error, RetryIn) else None
        seconds = delay(self.policy, tries) if asked is None else asked
        where = self._where(error)
        key = held.entry.event.key
        context.run(
            _log.log,
            logging.ERROR if is_last else logging.WARNING,
            "%s failed on %s: %s at %s, try %d; %s",
            self.who,
            key,
            _told(error),
            where,
            tries,
            self.last if is_last else f"again in {seconds:.1f} s",
            extra={
                "subscriber": self.subscriber,
                "key": key,
                "tries": tries,
                "error": kind_of(error),
                "where": where,
                **({} if is_last else {"seconds": round(seconds, 1)}),
            },
            exc_info=exc_info_of(error),
        )
        retry = Retry(
            tries=tries,
            due_at=None if is_last else now + seconds,
            first_failed_at=held.retry.first_failed_at or now,
            failed_at=now,
            error=described(error),
            where=where,
            trace=chain_of(error),
            replayed=held.retry.replayed,
            begun=held.retry.begun,
        )
        return retry, seconds

    def _where(self, error: BaseException) -> str:
        try:
            return where_of(error, self.function) or name_of(self.function)
        except Exception:  # noqa: BLE001 - an object's own attributes may raise
            return "an unknown line"

    def put_off(self, held: Held, later: Later) -> Retry:
        """Return the record of an entry that has another turn in a while."""
        now = self.clock.time()
        begun = later.begun or (held.retry.begun and not later.counted)
        retry = attrs.evolve(held.retry, due_at=now + later.seconds, begun=begun)
        if not later.counted:  # once in a while for each reason, as it may be so for thousands
            level = logging.WARNING if later.begun else logging.INFO
            told = f"{self.who} holds events back: {later}"
            self._throttle.log(level, told, subscriber=self.subscriber)
            return retry
        key = held.entry.event.key
        _log.warning(
            "%s holds back %s: %s; again in %.1f s",
            self.who,
            key,
            later,
            later.seconds,
            extra={"subscriber": self.subscriber, "key": key, "seconds": round(later.seconds, 1)},
        )
        return attrs.evolve(
            retry,
            tries=retry.tries + 1,
            first_failed_at=retry.first_failed_at or now,
            failed_at=now,
            error=str(later),
        )


def _asked(error: RetryIn) -> float | None:
    """Return how many seconds to wait, where a class of somebody's has left that in order."""
    try:
        seconds = float(error.seconds)
    except Exception:  # noqa: BLE001 - the class's own code
        return None
    return seconds if 0 <= seconds < math.inf else None


def _told(error: BaseException) -> str:
    """Return what a log may tell of an error: its class, and its text where that is ours."""
    is_ours = type(error).__module__ == errors.__name__ and is_a(error, _DISCREET)
    if not is_ours:
        return kind_of(error)
    text = "; ".join(str(error).splitlines())  # a configuration may have several problems
    return f"{kind_of(error)} ({mask_phones_in(text)})"
