"""RCS for Business, straight from Google: the adapter, its settings and its samples."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final, Literal, final

import attrs
import orjson

from bridge.adapter import Callback, Parsed, Response, Sample, SignedRequest, Verified, build
from bridge.adapter.body import read_body, read_several
from bridge.adapter.paths import Step
from bridge.adapter.payload import base64_bytes, identifier, mapping
from bridge.adapter.reading import JsonObject
from bridge.adapter.samples import load as load_samples
from bridge.adapter.sending import check_base_url
from bridge.adapter.setup import Given, setup
from bridge.adapter.signing import Secret, Signatures, Tokens, secret_of, secrets_of
from bridge.adapter.simulation import Rehearsal
from bridge.adapters.rcs import wire
from bridge.adapters.rcs.envelope import MAX_HANDSHAKE, held_in, read_data, read_handshake
from bridge.adapters.rcs.freshen import freshen
from bridge.adapters.rcs.items import translate_item
from bridge.adapters.rcs.sending import BASE_URL, RcsSender, service_account
from bridge.adapters.rcs.simulated import SimulatedRcs
from bridge.errors import ConfigurationError, MalformedBody, NotAuthentic, Problem, Unreadable
from bridge.model import Event, JsonValue

__all__ = ["Rcs", "RcsSettings"]


_DATA: Final = ("message", "data")  # from the envelope to the object in it
_MAX_SECRET: Final = 1024
"""How long a handshake's secret may be: it is sent back, so it must not be a payload."""
_MAX_SIGNATURE: Final = 256
"""How long the header of a signature may be: base64 of 64 bytes takes 88 letters."""


@attrs.frozen(kw_only=True)
class RcsSettings:
    """How Google, or a gateway that forwards its objects, proves itself."""

    client_tokens: tuple[Secret, ...] = attrs.field(
        default=(),
        converter=secrets_of,
        repr=False,
        metadata=setup(Given(what="the clientToken of the webhook's settings at Google")),
    )
    """The `clientToken` of the agent's or the partner's webhook, which signs each callback.
    Several while one is being replaced, or where several agents share the address."""

    bare: bool = False
    """Take what a gateway forwards too: an inner object as the whole body, and where there are no
    `client_tokens` an envelope. Nothing signs it, so that one of `tokens` must stand at the end of
    its address."""

    tokens: tuple[Secret, ...] = attrs.field(default=(), converter=secrets_of, repr=False)
    """Words of your choice, one of which stands at the end of the gateway's address."""

    service_account: Secret | None = attrs.field(default=None, converter=secret_of, repr=False)
    """What sending takes: the JSON key of a service account of the partner's project."""

    agent_id: str | None = None
    """The agent to send as where a message does not say. What it sends is for the account that
    Google's callbacks name: this id with `@rbm.goog` behind it. So are callbacks of a gateway that
    leaves the domain out."""

    traffic_type: (
        Literal["AUTHENTICATION", "TRANSACTION", "PROMOTION", "SERVICEREQUEST", "ACKNOWLEDGEMENT"]
        | None
    ) = None
    """What the messages are for; an agent of several uses must say so."""

    ttl: float | None = None
    """For how many seconds Google tries to deliver a message, at most 15 days; then it is
    revoked, so that another channel may be tried."""

    base_url: str = attrs.field(default=BASE_URL, validator=check_base_url)
    """Where requests go; each region has an address of its own."""

    insecure: bool = False
    """Take callbacks unproved where no token is given. Whoever knows the address can then
    write messages; only for trying things out."""

    def __attrs_post_init__(self) -> None:
        """Raise `ConfigurationError` where anybody could get in."""
        if self.insecure:
            return
        problems = []
        if not any(self.client_tokens) and not self.bare:
            message = "missing; Google signs with the clientToken of the webhook's settings"
            problems.append(Problem(key="client_tokens", message=message))
        if self.bare and not any(self.tokens):
            message = "missing; bare bodies are not signed, so their address needs a token"
            problems.append(Problem(key="tokens", message=message))
        if problems:
            raise ConfigurationError(tuple(problems))

    def doubts(self) -> Iterator[Problem]:
        """Yield a warning where nothing can be sent with the key that is given."""
        if self.service_account is not None:
            try:
                service_account(self.service_account)
            except ConfigurationError as error:
                yield from error.problems


@final
class Rcs:
    """Callbacks of RCS for Business. Only `message.data` is signed, so only it is trusted."""

    Settings = RcsSettings

    methods: Final = frozenset({"POST"})
    repeats_for: Final = wire.REPEATS_FOR
    channels: Final = frozenset({wire.CHANNEL})
    accounts: Final = None  # only callbacks tell them

    def __init__(self, name: str, settings: RcsSettings, /) -> None:
        self.name = name
        self._settings = settings
        self._client_tokens = Tokens(settings.client_tokens)
        self._signatures = Signatures(wire.SIGNATURE_ALGORITHM, settings.client_tokens)
        self._tokens = Tokens(settings.tokens)
        self._first_token = next((token for token in settings.tokens if token), None)
        self._bare = settings.bare
        self._insecure = settings.insecure
        self.signed = bool(self._signatures) and not (self._bare or self._insecure)

    def verify(self, callback: Callback, /) -> Verified:
        """Check a handshake's client token, the signature of `message.data`, or the address.

        A body is read only after its signature is seen to be well-formed or its token to match,
        and of an envelope only what stands around the signed string; a handshake is small.
        """
        handshake = read_handshake(callback.body)
        if handshake is not None:
            return self._verify_handshake(handshake, callback)
        signature = self._presented(callback)
        if signature is None and not (self._bare or self._insecure):
            raise NotAuthentic("there is not exactly one well-formed signature")
        if signature is not None:
            data = read_data(callback.body)
            if data is not None:
                return self._verified(callback, data, signature)
        return self._verify_unsigned(callback)

    def admit(self, head: Callback, /) -> None:
        """Refuse what has neither a well-formed signature nor a token, and is no handshake."""
        length = head.headers.get("Content-Length", "")
        if self._presented(head) is not None or (length.isdigit() and int(length) <= MAX_HANDSHAKE):
            return
        self._check_address(head)

    def _check_address(self, callback: Callback) -> None:
        if not (self._bare or self._insecure):
            raise NotAuthentic("neither a signed envelope nor a handshake")
        if self._tokens and not self._tokens.match(callback.tail):
            raise NotAuthentic("the token does not match")

    def _presented(self, callback: Callback) -> bytes | None:
        """Return the one signature of a callback, if it is of the right form and can be checked."""
        if not self._signatures:
            return None
        presented = callback.headers.getall(wire.SIGNATURE_HEADER, ())
        if len(presented) != 1 or len(presented[0]) > _MAX_SIGNATURE:
            return None
        signature = base64_bytes(presented[0])
        is_whole = signature is not None and len(signature) == wire.SIGNATURE_SIZE
        return signature if is_whole else None

    def _verified(self, callback: Callback, data: str, signature: bytes | None) -> Verified:
        payload = base64_bytes(data)
        if payload is None:  # it may be in lines
            payload = base64_bytes(data.replace("\n", "").replace("\r", "").strip())
        if payload is None:
            raise NotAuthentic("message.data is not base64")
        if self._signatures:  # otherwise the address has proved what a gateway hands on
            if signature is None:
                raise NotAuthentic("there is not exactly one well-formed signature")
            if not self._signatures.match(payload, signature):
                raise NotAuthentic("the signature does not match")
        return build.verified(payload=payload, received_at=callback.received_at, callback=callback)

    def _verify_handshake(self, body: dict[str, JsonValue], callback: Callback) -> Verified:
        token = body["clientToken"]
        secret = body.get("secret")
        if type(secret) is not str or len(secret) > _MAX_SECRET:
            raise NotAuthentic("a handshake without a usable secret")
        if type(token) is not str:
            raise NotAuthentic("a handshake without a client token")
        if self._client_tokens:
            if not self._client_tokens.match(token):
                raise NotAuthentic("the client token does not match")
        elif not self._insecure:
            raise NotAuthentic("no client token is configured")
        return build.verified(
            payload=callback.body, received_at=callback.received_at, callback=callback
        )

    def _verify_unsigned(self, callback: Callback) -> Verified:
        self._check_address(callback)
        data = read_data(callback.body)
        if data is not None and not data.lstrip().startswith("{"):  # decoded already, by a gateway
            return self._verified(callback, data, None)
        return build.verified(
            payload=callback.body, received_at=callback.received_at, callback=callback
        )

    def parse(self, verified: Verified, /) -> Parsed:
        """Translate the inner object; a handshake is answered with its secret and no event.

        Google repeats what is not acknowledged for thirty days and counts it against the agent,
        so that what it signed is kept as its text where it is no JSON object.
        """
        whole = _is_whole_body(verified)
        body = read_body(verified, self.name, wire.CHANNEL)
        if isinstance(body, Parsed):
            if whole:
                return read_several(body, verified, self.parse)
            return body if body.malformed is None else self._kept(verified, body.malformed)
        around = mapping(body.get("message"))
        data = around.get("data")
        item = held_in(data)
        if item or type(data) is dict:  # a gateway that has decoded the envelope
            return build.parsed(events=(self._translated(item, body, verified, *_DATA),))
        if wire.is_no_envelope(around):
            return build.parsed(events=(self._translated(around, body, verified, "message"),))
        secret = body.get("secret")
        if whole and "clientToken" in body and type(secret) is str:
            return Parsed(response=Response(body=secret.encode()))
        return build.parsed(events=(self._translated(body, body, verified),))

    def _translated(
        self, item: JsonObject, body: JsonObject, verified: Verified, *place: Step
    ) -> Event:
        item = wire.spelled(item)
        agent = self._agent(item)
        if agent is not None and agent != item["agentId"]:
            item = {**item, "agentId": agent}
        scope = build.scope(
            source=self.name,
            channel=wire.CHANNEL,
            account=agent or self._agent(body),
            received_at=verified.received_at,
            body=body,
        )
        return translate_item(item, scope, *place)

    def _agent(self, item: JsonObject) -> str | None:
        """Return the agent as sending names it, where a gateway tells the id without its domain."""
        told = identifier(item.get("agentId"))
        if told is None:
            return None
        own, told = self._settings.agent_id, told.strip()
        is_own = own is not None and wire.is_same_agent(own, told)
        return wire.named_in_callbacks(told) if is_own else told

    def _kept(self, verified: Verified, fault: MalformedBody) -> Parsed:
        scope = build.scope(
            source=self.name,
            channel=wire.CHANNEL,
            received_at=verified.received_at,
            body=verified.payload.decode("utf-8", "backslashreplace"),
        )
        return Parsed(events=(scope.unrecognized(Unreadable("", str(fault))),))

    def sender(self) -> RcsSender:
        """Return what sends with these settings."""
        settings = self._settings
        return RcsSender(
            account=service_account(settings.service_account),
            agent_id=settings.agent_id,
            traffic_type=settings.traffic_type,
            ttl=settings.ttl,
            base_url=settings.base_url,
        )

    def simulation(self) -> SimulatedRcs:
        """Return a provider that takes what is sent with these settings."""
        return SimulatedRcs()

    def rehearsal(self, url: str, *, first: int) -> Rehearsal:
        """Return what sends to a simulated provider, and the provider."""
        settings = self._settings
        agent = settings.agent_id or "example_agent"
        sender = RcsSender(
            account=None, agent_id=agent, traffic_type=settings.traffic_type, base_url=url
        )
        return Rehearsal(sender, SimulatedRcs(agent=agent, first=first, is_open=True))

    # --- samples -------------------------------------------------------------------------

    def samples(self) -> Sequence[Sample]:
        """Return the inner objects of Google's reference, one of each kind."""
        return load_samples(__name__)

    def freshen(self, body: JsonValue, nonce: str, now: datetime) -> JsonValue:
        """Give an inner object new ids and times."""
        return freshen(body, nonce, now) if type(body) is dict else body

    def authenticate(self, body: bytes) -> SignedRequest:
        """Wrap an inner object in the envelope and sign it, or address it with the first token."""
        if self._bare and not self._signatures:
            return SignedRequest(
                body=body, tail=self._first_token.reveal() if self._first_token else ""
            )
        envelope = orjson.dumps({"message": {"data": base64.b64encode(body).decode()}})
        if not self._signatures:
            return SignedRequest(body=envelope)
        signature = base64.b64encode(self._signatures.sign(body)).decode()
        return SignedRequest(body=envelope, headers={wire.SIGNATURE_HEADER: signature})


def _is_whole_body(verified: Verified) -> bool:
    """Return whether a callback came without an envelope: what one holds is never a handshake.

    Without its callback a payload is what an envelope held.
    """
    return verified.callback is not None and verified.payload == verified.callback.body
