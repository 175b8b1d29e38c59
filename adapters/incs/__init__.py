"""INCS, which wraps WhatsApp, RCS and Viber: the adapter, its settings and its samples."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, final

import attrs

from bridge.adapter import Callback, Parsed, Sample, SignedRequest, Verified
from bridge.adapter.payload import TooDeep, read_object
from bridge.adapter.signing import Secret, Tokens, secrets_of
from bridge.adapters.incs import samples, wire
from bridge.adapters.incs.channels import Channel, Channels
from bridge.adapters.incs.sending import BASE_URL, IncsSender
from bridge.adapters.incs.simulated import SimulatedIncs
from bridge.adapters.incs.translate import translate
from bridge.errors import ConfigurationError, MalformedBody, NotAuthentic, Problem
from bridge.model import JsonValue
from bridge.model.frozen import builder

__all__ = ["Channel", "Incs", "IncsSettings"]

_new_parsed: Final = builder(Parsed)


@attrs.frozen(kw_only=True)
class IncsSettings:
    """How INCS proves itself, and the business's channels there.

    INCS signs nothing, so that a token must come with each callback.
    """

    tokens: tuple[Secret, ...] = attrs.field(default=(), converter=secrets_of, repr=False)
    """Words of your choice, one of which stands at the end of the callback's address, or in
    `token_header`. Several while one is being replaced."""

    token_header: str = wire.TOKEN_HEADER
    """The header in which a proxy of yours may hand over the token."""

    insecure: bool = False
    """Take callbacks without a token where there is none. Whoever knows the address can then
    write messages; only for trying things out."""

    channels: tuple[Channel, ...] = ()
    """The channels of the INCS console: they tie together the names that INCS has for one."""

    base_url: str = BASE_URL
    """Where messages are sent to."""

    def __attrs_post_init__(self) -> None:
        """Raise `ConfigurationError` where anybody could get in, or channels contradict."""
        problems = Channels(self.channels).problems
        if not any(self.tokens) and not self.insecure:
            message = "empty; INCS signs nothing, so the callback's address needs a token"
            problems = (Problem(key="tokens", message=message), *problems)
        if problems:
            raise ConfigurationError(problems)


@final
class Incs:
    """Callbacks of INCS: statuses, templates, and messages in the channel's form and its own."""

    Settings = IncsSettings

    methods: Final = frozenset({"POST"})

    def __init__(self, name: str, settings: IncsSettings, /) -> None:
        self.name = name
        self._settings = settings
        self._tokens = Tokens(settings.tokens)
        self._first_token = next((token for token in settings.tokens if token), None)
        self._token_header = settings.token_header
        self._channels = Channels(settings.channels, name)

    def verify(self, callback: Callback, /) -> Verified:
        """Check the token at the end of the path, or the one in the header."""
        if self._tokens:
            in_header = callback.headers.getall(self._token_header, ())
            in_path = self._tokens.match(callback.tail)
            if not in_path and not (len(in_header) == 1 and self._tokens.match(in_header[0])):
                raise NotAuthentic("no token matches")
        return Verified(payload=callback.body, received_at=callback.received_at, callback=callback)

    def parse(self, verified: Verified, /) -> Parsed:
        """Translate a callback; also a bare RCS object, as the documentation shows some."""
        try:
            body = read_object(verified.payload)
        except TooDeep as error:
            blank = self._channels.blank(verified.received_at)
            text = verified.payload.decode("utf-8", "replace")
            return Parsed(events=(blank.unrecognized(text, error.reason),))
        except MalformedBody as error:
            return Parsed(malformed=error)
        return _new_parsed(events=tuple(translate(body, self._channels, verified.received_at)))

    def sender(self) -> IncsSender:
        """Return what sends with these settings."""
        return IncsSender(self._settings.channels, self._settings.base_url)

    def simulation(self) -> SimulatedIncs:
        """Return a provider that takes what is sent with these settings."""
        return SimulatedIncs(self._settings.channels)

    # --- samples -------------------------------------------------------------------------

    def samples(self) -> Sequence[Sample]:
        """Return every sample of the vendor's documentation, in its order."""
        return samples.load()

    def freshen(self, body: JsonValue, nonce: str, now: datetime) -> JsonValue:
        """Give a callback new ids and times; what it answers moves along."""
        return samples.freshen(body, nonce, now) if type(body) is dict else body

    def authenticate(self, body: bytes) -> SignedRequest:
        """Address a callback with the first token."""
        return SignedRequest(
            body=body, tail=self._first_token.reveal() if self._first_token else ""
        )
