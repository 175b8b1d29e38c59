"""How fast an account may send, and how fast to one user, told without waiting for it.

Nobody waits in here: a message that may not go yet is told when it may, so that it can be put
aside while others go.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, final

import attrs

from bridge.adapter import Pace

_MAX_PAUSE: Final = 600.0
_ACCOUNT_FACTOR: Final = 2.0
_PAIR_FACTOR: Final = 4.0  # as Meta asks for: 4^0, 4^1, 4^2 … seconds
_MANY: Final = 10_000
_ROUNDING: Final = 1e-9


@final
@attrs.define
class _Gate:
    """A leaky bucket (GCRA), which a refusal keeps shut for a while.

    `drained_at` is when as much has flowed off as came in.
    """

    drained_at: float = 0.0
    shut_until: float = 0.0
    refusals: int = 0

    def wait(self, now: float, every: float, burst: float) -> float:
        """Return how many seconds it takes until one more fits."""
        full = max(self.drained_at, now) + every - every * burst
        pause = max(full, self.shut_until) - now
        return pause if pause > _ROUNDING else 0.0

    def enter(self, now: float, every: float) -> None:
        """Let one more in."""
        self.drained_at = max(self.drained_at, now) + every

    def shut(self, now: float, seconds: float | None, factor: float) -> float:
        """Let nobody in for so many seconds, or for ever longer ones; return for how many.

        A provider that asks for less than a second may ask for it for ever: then the pauses are
        ours. Those that were let in before it was shut, and are refused as well, make it no longer.
        """
        if seconds is not None and seconds < 1:
            seconds = None
        if seconds is None and now < self.shut_until:
            return self.shut_until - now
        pause = min(factor**self.refusals, _MAX_PAUSE) if seconds is None else seconds
        self.refusals += 1
        self.shut_until = max(self.shut_until, now + pause)
        return pause

    def is_idle(self, now: float) -> bool:
        return max(self.drained_at, self.shut_until) <= now and not self.refusals


@final
class Limits:
    """The gates of one sender: one for each account, and one for each of its conversations.

    An account that is too fast is slowed down by itself, and so is a conversation. `paces` are
    those of accounts that may go at another pace.
    """

    def __init__(
        self,
        pace: Pace,
        clock: Callable[[], float] = time.monotonic,
        paces: Mapping[str | None, Pace] = MappingProxyType({}),
    ) -> None:
        self._pace = pace
        self._paces = paces
        self._clock = clock
        self._accounts: dict[str | None, _Gate] = {}
        self._pairs: dict[str, _Gate] = {}

    def enter(self, account: str | None, conversation: str) -> float:
        """Return 0.0 and count the message where it may go now, else in how many seconds it may.

        The account's turn is not used up by a message that its conversation holds back.
        """
        now = self._clock()
        pace = self._paces.get(account, self._pace)
        every = 0.0 if pace.rate is None else 1.0 / pace.rate
        gate = self._accounts.get(account) or self._accounts.setdefault(account, _Gate())
        pause = gate.wait(now, every, max(pace.rate or 0.0, 1.0))
        pair = self._pair(conversation, now) if pace.pair_every else self._pairs.get(conversation)
        if pair is not None:  # else nothing holds the conversation back
            pause = max(pause, pair.wait(now, pace.pair_every or 0.0, pace.pair_burst))
        if pause == 0.0:
            gate.enter(now, every)
            if pair is not None:
                pair.enter(now, pace.pair_every or 0.0)
        return pause

    def slow(self, account: str | None, seconds: float | None = None) -> float:
        """Hold an account back after the provider called it too fast; return for how long."""
        gate = self._accounts.setdefault(account, _Gate())
        return gate.shut(self._clock(), seconds, _ACCOUNT_FACTOR)

    def hold(self, conversation: str, seconds: float | None = None) -> float:
        """Hold a conversation back after the provider did so; return for how long."""
        now = self._clock()
        return self._pair(conversation, now).shut(now, seconds, _PAIR_FACTOR)

    def accepted(self, account: str | None, conversation: str) -> None:
        """Forget how often the account and the conversation were refused: one got through."""
        for gate in (self._accounts.get(account), self._pairs.get(conversation)):
            if gate is not None:
                gate.refusals = 0

    def _pair(self, conversation: str, now: float) -> _Gate:
        gate = self._pairs.get(conversation)
        if gate is None:
            if len(self._pairs) >= _MANY:
                self._pairs = {
                    name: gate for name, gate in self._pairs.items() if not gate.is_idle(now)
                }
            gate = self._pairs[conversation] = _Gate()
        return gate
