"""An adapter as it is configured: which callbacks can be its, and where their events belong."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from bridge.adapter import (
    Adapter,
    Admitting,
    Callback,
    Scope,
    Verified,
    WindowSource,
)
from bridge.adapter.body import read_object
from bridge.adapter.signing import Address, Network
from bridge.errors import (
    MalformedBody,
    MethodRefused,
    NotAuthentic,
    Unreadable,
)
from bridge.ingress.domains import Member
from bridge.model import Deletion, Event, JsonValue, Message, Origin, System, Unrecognized
from bridge.model.frozen import evolved
from bridge.model.keys import MAX_ID, in_domain, overlong
from bridge.observer import CallbackDetails
from bridge.process.raised import raised_at

_SILENT: Final = (Deletion, System)  # of a user who says nothing
_USER: Final = Origin.USER


class Configured(Member):
    """An adapter, the networks that its callbacks may come from, and what observers are told."""

    def __init__(
        self,
        name: str,
        adapter: Adapter,
        networks: Sequence[Network],
        domain: str | None,
        *,
        believe_unsigned: bool,
    ) -> None:
        super().__init__(name, adapter, domain, believe_unsigned=believe_unsigned)
        self.adapter = adapter
        self.max_age: timedelta | None = None
        self.publishes_stale = True
        self.accounts: frozenset[str] | None = None
        self.methods = adapter.methods
        self.admit = adapter.admit if isinstance(adapter, Admitting) else None
        self.networks = tuple(networks)
        self.windows = adapter.windows if isinstance(adapter, WindowSource) else {}
        self.details = CallbackDetails(name)

    def check_head(self, callback: Callback) -> None:
        """Raise `NotAuthentic` or `MethodRefused` where a callback cannot be one of ours."""
        if not self.allows(callback.client):
            raise NotAuthentic("the callback comes from a network that is not allowed")
        if callback.method not in self.methods:
            raise MethodRefused(self.methods)

    def allows(self, client: Address | None) -> bool:
        """Return whether a callback may come from there; without networks, from anywhere."""
        return not self.networks or (
            client is not None and any(client in network for network in self.networks)
        )

    def placed(
        self, events: Sequence[Event], verified: Verified, domain: str, *, of_any_age: bool
    ) -> tuple[Event, ...]:
        """Return the events of a body as those of a trust domain.

        Where an event must not be published, the body is kept in its place. An event is stale
        where it is dated too far back to be new; imported messages never are.
        """
        placed: list[Event] = []
        faults: list[str] = []
        for event in events:
            is_stale = self.max_age is not None and _is_older(event, self.max_age)
            fault = self._fault(event, is_refused=is_stale and not of_any_age)
            if fault is None:
                moved = in_domain(event, domain, reply_until=self._window_of(event))
                placed.append(evolved(moved, stale=True) if is_stale else moved)
            elif fault not in faults:
                faults.append(fault)
        if faults:
            reason = "; ".join(sorted(faults))
            unread = self.unread(verified.payload, verified.received_at, reason)
            placed.append(in_domain(unread, domain))
        return tuple(placed)

    def _fault(self, event: Event, *, is_refused: bool) -> str | None:
        """Return why an event must not be published, or None."""
        if name := overlong(event):
            return f"longer than {MAX_ID} bytes: {name}"
        if self.accounts and event.account not in self.accounts and event.account is not None:
            return "of an account that is not among the configured ones"
        if is_refused and self.max_age is not None and not self.publishes_stale:
            return f"stale: dated more than {self.max_age.total_seconds():.0f} s before it came"
        return None

    def _window_of(self, event: Event) -> datetime | None:
        """Return until when a user's message may be answered freely, where that is limited."""
        window = self.windows.get(event.channel)
        if window is None or not isinstance(event, Message) or event.origin is not _USER:
            return None
        return None if isinstance(event.content, _SILENT) else event.occurred_at + window.open

    def unread(self, payload: bytes, received_at: datetime, reason: str) -> Unrecognized:
        """Return the event that keeps a whole body, to be parsed again."""
        raw: JsonValue
        try:
            raw = read_object(payload)
        except MalformedBody:
            raw = payload.decode("utf-8", "replace")
        scope = Scope(source=self.name, channel=self.name, received_at=received_at, body=raw)
        return scope.unrecognized(Unreadable("", reason))

    def crash(self, step: str, error: BaseException) -> dict[str, object]:
        """Return which adapter failed, and at which line; its error's text may quote the body."""
        return {
            "adapter": self.name,
            "step": step,
            "error": type(error).__name__,
            "where": raised_at(error),
        }


def _is_older(event: Event, age: timedelta) -> bool:
    is_imported = isinstance(event, Message) and event.origin is Origin.HISTORY
    return not is_imported and event.received_at - event.occurred_at > age
