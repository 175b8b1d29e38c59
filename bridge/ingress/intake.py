"""An adapter's door: who may come in, and what a callback says, whatever the adapter does.

An adapter is somebody's code over somebody's bytes. Where it fails on an authentic body, the
body is kept whole as an `Unrecognized`; where it fails to verify, nobody comes in.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Final

import attrs

from bridge.adapter import Adapter, Callback, Parsed, Scope, Verified
from bridge.adapter.payload import read_object
from bridge.adapter.signing import Network
from bridge.delivery.functions import raised_at
from bridge.errors import MalformedBody, MethodRefused, NotAuthentic, Unreadable
from bridge.model import JsonValue, Unrecognized

_log: Final = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Door:
    """A configured adapter and the networks that its callbacks may come from; none means any.

    `reader` is the adapter itself, or what traces its steps.
    """

    name: str
    adapter: Adapter
    reader: Adapter
    networks: tuple[Network, ...] = ()
    _methods: frozenset[str] = attrs.field(init=False)

    @_methods.default
    def _ask_for_methods(self) -> frozenset[str]:
        return self.adapter.methods

    def read(self, callback: Callback) -> Parsed:
        """Verify, then parse. Raises `NotAuthentic` or `MethodRefused`."""
        if self.networks and not any(
            callback.client is not None and callback.client in network for network in self.networks
        ):
            raise NotAuthentic("the callback comes from a network that is not allowed")
        if callback.method not in self._methods:
            raise MethodRefused(self._methods)
        try:
            verified = self.reader.verify(callback)
        except NotAuthentic:
            raise
        except Exception as error:  # noqa: BLE001 - what cannot be verified is not authentic
            self._crashed("verify", error)
            raise NotAuthentic("the callback could not be verified") from None
        return self.parse(verified)

    def parse(self, verified: Verified) -> Parsed:
        """Parse what has been verified; never raises."""
        try:
            return self.reader.parse(verified)
        except Exception as error:  # noqa: BLE001 - whatever it is, the body is authentic
            self._crashed("parse", error)
            reason = f"the adapter failed with {type(error).__name__}"
            return Parsed(events=(self.unread(verified.payload, verified.received_at, reason),))

    def unread(self, payload: bytes, received_at: datetime, reason: str) -> Unrecognized:
        """Return the event that keeps a whole body for a mended adapter."""
        raw: JsonValue
        try:
            raw = read_object(payload)
        except MalformedBody:
            raw = payload.decode("utf-8", "replace")
        scope = Scope(source=self.name, channel=self.name, received_at=received_at, body=raw)
        return scope.unrecognized(Unreadable("", reason))

    def _crashed(self, step: str, error: Exception) -> None:
        # Neither the exception's text nor a traceback: either could hold what the body holds.
        _log.error(
            "an adapter failed: this is a bug in it",
            extra={
                "adapter": self.name,
                "step": step,
                "error": type(error).__name__,
                "where": raised_at(error),
            },
        )
