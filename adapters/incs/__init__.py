"""INCS, which wraps WhatsApp, RCS and Viber: the adapter, its settings and its samples."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, final, get_args

import attrs

from bridge.adapter import Callback, Parsed, Sample, SignedRequest, Verified, build
from bridge.adapter.body import read_body, read_several
from bridge.adapter.samples import load as load_samples
from bridge.adapter.sending import check_base_url
from bridge.adapter.setup import Chosen, Rows, Several, setup
from bridge.adapter.signing import Secret, Tokens, secrets_of
from bridge.adapter.simulation import Rehearsal
from bridge.adapters.incs import wire
from bridge.adapters.incs.callbacks import translate_callback
from bridge.adapters.incs.capabilities import WINDOWS
from bridge.adapters.incs.channels import Channel, ChannelKind, Channels
from bridge.adapters.incs.freshen import freshen
from bridge.adapters.incs.sending import BASE_URL, IncsSender
from bridge.adapters.incs.simulated import SimulatedIncs
from bridge.errors import ConfigurationError, NotAuthentic, Problem
from bridge.model import JsonValue

__all__ = ["Channel", "Incs", "IncsSettings"]


_MADE_UP: Final = Channel(id=30058, kind="whatsapp", business_phone="6281519236680")


@attrs.frozen(kw_only=True)
class IncsSettings:
    """How INCS proves itself, and the business's channels there.

    INCS signs nothing, so that a token must come with each callback.
    """

    tokens: tuple[Secret, ...] = attrs.field(
        default=(), converter=secrets_of, repr=False, metadata=setup(Chosen())
    )
    """Words of your choice, one of which stands at the end of the callback's address, or in
    `token_header`. Several while one is being replaced."""

    token_header: str = wire.TOKEN_HEADER
    """The header in which a proxy of yours may hand over the token."""

    insecure: bool = False
    """Take callbacks without a token where there is none. Whoever knows the address can then
    write messages; only for trying things out."""

    channels: tuple[Channel, ...] = attrs.field(
        default=(),
        metadata=setup(
            Rows(
                names=("id", "kind", "business_phone"),
                form="ID:KIND:PHONE, such as 30058:whatsapp:6281…",
                questions={
                    "id": "The channel's id in the INCS console? (empty: later)",
                    "business_phone": "Its business phone, with the country's code? (empty: later)",
                    "kind": "Is it whatsapp, rcs or viber? (empty: whatsapp)",
                },
                defaults={"kind": "whatsapp"},
            )
        ),
    )
    """The channels of the INCS console: they tie together the names that INCS has for one. A
    callback that names another channel is kept as `Unrecognized`, and one that names none is of
    the only channel that it can be of."""

    callbacks: tuple[wire.CallbackName, ...] = attrs.field(
        default=get_args(wire.CallbackName),
        metadata=setup(Several(question="incs: which callbacks does the INCS console send?")),
    )
    """The callbacks that the INCS console sends. Where both `new_message` and `message_created`
    are among them, a user's message comes twice, and the latter tells less of it."""

    settle: float = attrs.field(default=2.0, validator=attrs.validators.ge(0))
    """How many seconds a user's message that `message_created` told waits for `new_message`, and
    one that was sent through the API for the response, which says whether it is the bridge's."""

    base_url: str = attrs.field(default=BASE_URL, validator=check_base_url)
    """Where messages are sent to."""

    def __attrs_post_init__(self) -> None:
        """Raise `ConfigurationError` where anybody could get in, or channels contradict."""
        problems = Channels(self.channels).problems
        if not any(self.tokens) and not self.insecure:
            message = "missing; INCS signs nothing, so the callback's address needs a token"
            problems = (Problem(key="tokens", message=message), *problems)
        if problems:
            raise ConfigurationError(problems)


@final
class Incs:
    """Callbacks of INCS: statuses, templates, and messages in the channel's form and its own."""

    Settings = IncsSettings

    methods: Final = frozenset({"POST"})
    channels: Final = frozenset({wire.CHANNEL, *get_args(ChannelKind)})
    windows: Final = WINDOWS

    def __init__(self, name: str, settings: IncsSettings, /) -> None:
        self.name = name
        self._settings = settings
        self._tokens = Tokens(settings.tokens)
        self._first_token = next((token for token in settings.tokens if token), None)
        self._token_header = settings.token_header
        both = {wire.NEW_MESSAGE, wire.MESSAGE_CREATED} <= set(settings.callbacks)
        settle = settings.settle if both and settings.settle else None
        self._channels = Channels(settings.channels, name, settle, settings.settle or None)
        self.accounts = frozenset(each.named for each in settings.channels) or None

    def verify(self, callback: Callback, /) -> Verified:
        """Check the token at the end of the path, or the one in the header."""
        self.admit(callback)
        return build.verified(
            payload=callback.body, received_at=callback.received_at, callback=callback
        )

    def admit(self, head: Callback, /) -> None:
        """Check the token, which is all that there is to check."""
        if self._tokens:
            in_header = head.headers.getall(self._token_header, ())
            in_path = self._tokens.match(head.tail)
            if not in_path and not (len(in_header) == 1 and self._tokens.match(in_header[0])):
                raise NotAuthentic("no token matches")

    def parse(self, verified: Verified, /) -> Parsed:
        """Translate a callback; also a bare RCS object, as the documentation shows some."""
        body = read_body(verified, self.name, wire.CHANNEL)
        if isinstance(body, Parsed):
            return read_several(body, verified, self.parse)
        return build.parsed(
            events=tuple(translate_callback(body, self._channels, verified.received_at))
        )

    def sender(self) -> IncsSender:
        """Return what sends with these settings."""
        return IncsSender(self._settings.channels, self._settings.base_url)

    def simulation(self) -> SimulatedIncs:
        """Return a provider that takes what is sent with these settings."""
        return SimulatedIncs(self._settings.channels)

    def rehearsal(self, url: str, *, first: int) -> Rehearsal:
        """Return what sends to a simulated provider, and the provider."""
        channels = [
            attrs.evolve(each, certification_code=Secret(f"simulated-{each.id}"))
            for each in self._settings.channels or (_MADE_UP,)
        ]
        return Rehearsal(IncsSender(channels, url), SimulatedIncs(channels, first=first))

    # --- samples -------------------------------------------------------------------------

    def samples(self) -> Sequence[Sample]:
        """Return every sample of the vendor's documentation, in its order."""
        return load_samples(__name__)

    def freshen(self, body: JsonValue, nonce: str, now: datetime) -> JsonValue:
        """Give a callback new ids and times; what it answers moves along."""
        return freshen(body, nonce, now) if type(body) is dict else body

    def authenticate(self, body: bytes) -> SignedRequest:
        """Address a callback with the first token."""
        return SignedRequest(
            body=body, tail=self._first_token.reveal() if self._first_token else ""
        )
