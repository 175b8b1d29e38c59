"""WhatsApp, straight from Meta's Cloud API.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/create-webhook-endpoint
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, final

import attrs

from bridge.adapter import (
    Callback,
    Parsed,
    Request,
    Response,
    Sample,
    SignedRequest,
    Verified,
    build,
)
from bridge.adapter.body import read_body, read_several
from bridge.adapter.samples import load as load_samples
from bridge.adapter.sending import check_base_url
from bridge.adapter.setup import Chosen, Given, setup
from bridge.adapter.signing import Secret, Signatures, Tokens, secret_of, secrets_of
from bridge.adapter.simulation import Rehearsal
from bridge.adapters.whatsapp.capabilities import WINDOW
from bridge.adapters.whatsapp.envelope import translate_body
from bridge.adapters.whatsapp.files import located, lookup
from bridge.adapters.whatsapp.freshen import freshen
from bridge.adapters.whatsapp.plain import plain_callback
from bridge.adapters.whatsapp.sending import BASE_URL, WhatsAppSender
from bridge.adapters.whatsapp.simulated import SimulatedWhatsApp
from bridge.adapters.whatsapp.wire import CHANNEL, REPEATS_FOR
from bridge.errors import ConfigurationError, NotAuthentic, Problem
from bridge.model import JsonValue, Media

__all__ = ["WhatsApp", "WhatsAppSettings"]


_SIGNATURE: Final = "X-Hub-Signature-256"
_ALGORITHM: Final = "sha256="
_MAX_CHALLENGE: Final = 1024  # Meta sends some ten digits; what is echoed is bounded all the same


@attrs.frozen(kw_only=True)
class WhatsAppSettings:
    """What the adapter needs to know about an app at Meta."""

    app_secrets: tuple[Secret, ...] = attrs.field(
        default=(),
        converter=secrets_of,
        metadata=setup(Given(what='the app\'s secret, in its "App settings, Basic" at Meta')),
    )
    """The app's secret ("App settings, Basic"), which signs each callback. Several while one
    is being replaced, or where several apps share the address."""

    verify_tokens: tuple[Secret, ...] = attrs.field(
        default=(),
        converter=secrets_of,
        metadata=setup(Chosen(purpose="the token to verify with")),
    )
    """The words of your choice that Meta repeats when you enter the callback address."""

    access_token: Secret | None = attrs.field(default=None, converter=secret_of, repr=False)
    """What sending takes: a system user's token with the scope whatsapp_business_messaging."""

    phone_number_id: str | None = None
    """The number to send from where a message does not say ("WhatsApp, API setup")."""

    base_url: str = attrs.field(default=BASE_URL, validator=check_base_url)
    """Where requests go, with the version of the Graph API."""

    insecure: bool = False
    """Take callbacks without a signature where there is no app secret. Whoever knows the
    address can then write messages; only for trying things out."""

    def __attrs_post_init__(self) -> None:
        """Raise `ConfigurationError` where anybody could get in."""
        if not any(self.app_secrets) and not self.insecure:
            message = "missing; Meta signs each callback with the app's secret"
            raise ConfigurationError((Problem(key="app_secrets", message=message),))


@final
class WhatsApp:
    """The adapter for callbacks of the WhatsApp Cloud API."""

    Settings: Final = WhatsAppSettings

    channels: Final = frozenset({CHANNEL})
    repeats_for: Final = REPEATS_FOR
    windows: Final = {CHANNEL: WINDOW}
    accounts: Final = None  # only callbacks tell them

    def __init__(self, name: str, settings: WhatsAppSettings) -> None:
        self._name = name
        self._settings = settings
        self._signatures = Signatures("sha256", settings.app_secrets)
        self._is_signed = bool(self._signatures)
        self._tokens = Tokens(settings.verify_tokens)

    @property
    def methods(self) -> frozenset[str]:
        """GET for the handshake, POST for everything else."""
        return frozenset({"GET", "POST"})

    @property
    def signed(self) -> bool:
        """Whether there is an app secret, without which nothing is verified."""
        return self._is_signed

    def verify(self, callback: Callback, /) -> Verified:
        """Check the handshake's token, or the signature over the body.

        Raises `NotAuthentic`, and nothing else.
        """
        if callback.method == "GET":
            payload = self._challenge(callback)
        else:
            payload = callback.body
            if self._is_signed:
                self._check_signature(callback)
        return build.verified(payload=payload, received_at=callback.received_at, callback=callback)

    def _challenge(self, callback: Callback) -> bytes:
        if not self._tokens.match(_single(callback.query.getall("hub.verify_token", []))):
            raise NotAuthentic("the handshake does not carry our token")
        if _single(callback.query.getall("hub.mode", [])) != "subscribe":
            raise NotAuthentic("the handshake is not a subscription")
        challenge = _single(callback.query.getall("hub.challenge", []))
        if not challenge or len(challenge) > _MAX_CHALLENGE or not challenge.isascii():
            raise NotAuthentic("the handshake's challenge is missing, repeated or not Meta's")
        return challenge.encode("ascii")

    def admit(self, head: Callback, /) -> None:
        """Refuse what does not carry one well-formed signature."""
        if self._is_signed and head.method != "GET":
            _signature(head)

    def _check_signature(self, callback: Callback) -> None:
        if not self._signatures.match(callback.body, _signature(callback)):
            raise NotAuthentic(f"{_SIGNATURE} does not match the body")

    def parse(self, verified: Verified, /) -> Parsed:
        """Translate every change of a callback, or answer the handshake; never raises."""
        if verified.callback is not None and verified.callback.method == "GET":
            return Parsed(response=Response(body=verified.payload))
        body = read_body(verified, self._name, CHANNEL)
        if isinstance(body, Parsed):
            return read_several(body, verified, self.parse)
        source, received_at = self._name, verified.received_at
        message = plain_callback(body, source, received_at)
        if message is not None:
            return build.parsed(events=(message,))
        return build.parsed(
            events=tuple(translate_body(body, source=source, received_at=received_at))
        )

    def sender(self) -> WhatsAppSender:
        """Return what sends with these settings."""
        token = self._access_token("sending")
        return WhatsAppSender(token, self._settings.phone_number_id, self._settings.base_url)

    def lookup(self, media: Media, /) -> Request:
        """Return the request that asks Meta where a file is."""
        return lookup(media, self._access_token("fetching a file"), self._settings.base_url)

    def located(self, media: Media, response: Response, /) -> tuple[Media, Request]:
        """Return the file as Meta describes it, and the request that fetches it."""
        return located(media, response, self._access_token("fetching a file"))

    def _access_token(self, purpose: str) -> Secret:
        token = self._settings.access_token
        if not token:
            message = f"missing; {purpose} takes a system user's token"
            raise ConfigurationError((Problem(key="access_token", message=message),))
        return token

    def simulation(self) -> SimulatedWhatsApp:
        """Return a provider that takes what is sent with these settings."""
        token = self._settings.access_token
        return SimulatedWhatsApp(token.reveal() if token else "")

    def rehearsal(self, url: str, *, first: int) -> Rehearsal:
        """Return what sends to a simulated provider, and the provider."""
        token, number = "simulated", self._settings.phone_number_id or "106540352242922"
        simulated = attrs.evolve(self._settings, access_token=Secret(token), base_url=url)
        return Rehearsal(
            WhatsAppSender(Secret(token), number, url),
            SimulatedWhatsApp(token, number=number, first=first),
            WhatsApp(self._name, simulated),
        )

    def samples(self) -> Sequence[Sample]:
        """Every sample, simple ones first."""
        return load_samples(__name__)

    def freshen(self, body: JsonValue, nonce: str, now: datetime) -> JsonValue:
        """Give a sample new ids and times."""
        return freshen(body, nonce, now)

    def authenticate(self, body: bytes) -> SignedRequest:
        """Sign a body as Meta would; without an app secret it stays unsigned."""
        headers = {"Content-Type": "application/json"}
        if self._is_signed:
            headers[_SIGNATURE] = _ALGORITHM + self._signatures.sign(body).hex()
        return SignedRequest(body=body, headers=headers)


def _signature(callback: Callback) -> bytes:
    """Return the signature of a callback. Raises `NotAuthentic` unless it has just one."""
    presented = callback.headers.getall(_SIGNATURE, ())
    if len(presented) != 1 or not presented[0].startswith(_ALGORITHM):
        raise NotAuthentic(f"{_SIGNATURE} is missing, repeated or of another algorithm")
    try:
        return bytes.fromhex(presented[0][len(_ALGORITHM) :])
    except ValueError:
        # Said without the cause: its text quotes what was presented.
        raise NotAuthentic(f"{_SIGNATURE} is not hexadecimal") from None


def _single(values: list[str]) -> str | None:
    """Return the only value of a name; one that is repeated is as good as none."""
    return values[0] if len(values) == 1 else None
