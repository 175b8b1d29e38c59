"""Chatting with your own bot as a simulated user, without an account at a provider.

A user's message reaches the bridge's public address as a signed callback of the provider; the
bridge's answer goes to a simulated provider on loopback, over HTTP. Messages to other users go to
the real provider, if the adapter has credentials for sending.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final, cast, final

import attrs
import orjson
from aiohttp import web

from bridge.adapter import (
    Capabilities,
    MediaSource,
    Outcome,
    Refused,
    Remedy,
    Request,
    Response,
    Sender,
    Upload,
    Uploading,
)
from bridge.adapter.payload import number, phone
from bridge.adapter.simulation import Files, Said, SimulationSource
from bridge.errors import CodecError, ConfigurationError, Unanswered, Unfetchable, Unsendable
from bridge.ingress.responses import problem, web_response
from bridge.model import (
    Carousel,
    Content,
    Event,
    JsonValue,
    Media,
    Menu,
    Message,
    ProviderError,
    StatusChange,
)
from bridge.model.codec import content_from_dict
from bridge.ops.admin.requests import BadRequest, body_of, is_masked, word
from bridge.ops.admin.requests import number as whole_number
from bridge.ops.admin.responses import json_response
from bridge.outbox.ways import sender_of
from bridge.runtime import Bridge
from bridge.testing.providers import SimulatedProvider
from bridge.testing.samples import Source, events_of, signed
from bridge.testing.simulated import unlimited

_log: Final = logging.getLogger(__name__)

_USERS: Final = ("+16505550101", "+16505550102", "+16505550103")
_STATUS_EVERY: Final = 0.5  # seconds, so that one sees the ticks change
_PATIENCE: Final = 5.0
_APART: Final = 10**10
_MOST: Final = 100  # requests and callbacks that can be looked at
_MAX_FILE: Final = 16 * 1024 * 1024


@final
@attrs.frozen(eq=False)
class Rehearsed:
    """Sends to simulated users, and otherwise through the real sender, if there is one."""

    simulated: Sender
    real: Sender | None
    users: set[str]

    @property
    def channels(self) -> Mapping[str, Capabilities]:
        """What the channels carry."""
        return (self.real or self.simulated).channels

    @property
    def routes(self) -> Sequence[Any]:
        """From which accounts it sends."""
        return (self.real or self.simulated).routes

    def _of(self, message: Message) -> Sender:
        names = {message.recipient.phone, message.recipient.user_id}
        return self.simulated if self.real is None or names & self.users else self.real

    def compose(self, message: Message, /, *, ttl: float | None = None) -> Request:
        """See `Sender.compose`."""
        return self._of(message).compose(message, ttl=ttl)

    def conclude(self, message: Message, response: Response, /) -> Outcome:
        """See `Sender.conclude`."""
        return self._of(message).conclude(message, response)

    def upload(self, media: Media, channel: str, account: str | None, /) -> Upload:
        """See `Uploading.upload`; nobody says whose message the file is for."""
        return self._uploading.upload(media, channel, account)

    def uploaded(self, response: Response, /) -> str | Refused:
        """See `Uploading.uploaded`."""
        return self._uploading.uploaded(response)

    @property
    def _uploading(self) -> Uploading:
        sender = self.real or self.simulated
        if not isinstance(sender, Uploading):
            raise Unsendable("the provider documents no way to take files; send a link")
        return sender

    def remedy(self, error: ProviderError, /) -> Remedy:
        """See `Sender.remedy`."""
        return self.simulated.remedy(error)


@final
@attrs.frozen(eq=False)
class RehearsedFiles:
    """Gets files of simulated users from the simulated provider, others from the real one."""

    provider: SimulatedProvider
    simulated: MediaSource
    real: MediaSource

    def _of(self, media: Media) -> MediaSource:
        is_simulated = media.media_id in self.provider.simulation.files
        return self.simulated if is_simulated else self.real

    def lookup(self, media: Media, /) -> Request:
        """See `MediaSource.lookup`."""
        return self._of(media).lookup(media)

    def located(self, media: Media, response: Response, /) -> tuple[Media, Request]:
        """See `MediaSource.located`."""
        return self._of(media).located(media, response)


@final
@attrs.frozen(eq=False)
class Chat:
    """The simulated providers by the adapters' names, and the users who write."""

    bridge: Bridge
    providers: dict[str, SimulatedProvider]
    senders: dict[str, Rehearsed]
    users: set[str]

    def direct(self, adapters: Mapping[str, object], base: str) -> None:
        """Post callbacks to a base URL from now on."""
        for name, provider in self.providers.items():
            adapter = adapters[name]
            if isinstance(adapter, SimulationSource):
                provider.callbacks.direct(adapter, f"{base}/{name}")

    def routes(self) -> web.RouteTableDef:
        """Return the routes of the chat page, for the operators' listener."""
        routes = web.RouteTableDef()
        routes.get("/chat")(self._phones)
        routes.get("/chat/traffic")(self._traffic)
        routes.get("/chat/file")(self._show_file)
        routes.post("/chat/file")(self._take_file)
        routes.post("/chat/say")(self._say)
        routes.post("/chat/behave")(self._behave)
        return routes

    async def _phones(self, _: web.Request) -> web.Response:
        """Return the accounts that a user can write to, and the simulated users."""
        phones = [
            {
                "adapter": name,
                "channel": route.channel,
                "account": route.account,
                "name": route.name,
                "user_id": self.providers[name].simulation.user_id,
            }
            for name, sender in self.senders.items()
            for route in sender.simulated.routes
        ]
        return json_response({"phones": phones, "users": sorted(_USERS)})

    async def _say(self, request: web.Request) -> web.Response:
        """Let a user say something; `file` is the id of one that the provider has taken."""
        body = await body_of(request, {"adapter", "account", "user", "content", "file"})
        provider, user = self._provider(body), _user(body)
        self.users.add(user)
        account = word(body.get("account"), "account")
        said = _said(body.get("content"))
        if isinstance(said, Media) and (file := word(body.get("file"), "file")):
            said = _with_file(said, file, provider)
        taken = await provider.say(user, said, account=account)
        return json_response({"acknowledged": taken})

    async def _take_file(self, request: web.Request) -> web.Response:
        """Let a provider keep a file, which is the whole body."""
        provider = self._provider(request.query)
        content = bytearray()
        async for piece in request.content.iter_any():
            content += piece
            if len(content) > _MAX_FILE:
                raise BadRequest(f"a file may have {_MAX_FILE >> 20} MiB")
        file = str(time.time_ns())
        provider.simulation.files[file] = bytes(content)
        return json_response({"file": file})

    async def _show_file(self, request: web.Request) -> web.Response:
        """Return a file of the message at a position, as `Bridge.fetch` gets it.

        `card` counts the files of a carousel from 0.
        """
        is_masked(request)  # leaves a line in the log
        entry = await self.bridge.operators.at(whole_number(request.query, "position", 0))
        message = None if entry is None else entry.event
        if not isinstance(message, Message):
            raise BadRequest("position: no message is there")
        media = _media_of(message.content, whole_number(request.query, "card", 0))
        if media is None:
            raise BadRequest("card: no file is there")
        content = self._kept(message, media)
        try:
            if content is None:
                one = attrs.evolve(message, content=media)
                content = (await self.bridge.fetch(one, max_size=_MAX_FILE)).content
        except (Unfetchable, Unanswered, ConfigurationError) as error:
            return web_response(problem(404, f"the file cannot be fetched: {error}"))
        headers = {"Content-Disposition": "attachment"}
        response = Response(body=content, content_type="application/octet-stream", headers=headers)
        return web_response(response)

    def _kept(self, message: Message, media: Media) -> bytes | None:
        """Return a file that the message's simulated provider has by its id."""
        provider = self.providers.get(message.source)
        if provider is None or media.media_id is None:
            return None
        return provider.simulation.files.get(media.media_id)

    async def _behave(self, request: web.Request) -> web.Response:
        """Set whether statuses come late or repeatedly, and whether messages to one user fail."""
        body = await body_of(request, {"adapter", "user", "late", "repeats", "fails"})
        provider, user = self._provider(body), _user(body)
        provider.callbacks.delay = number(body.get("late")) or 0.0
        provider.callbacks.repeats = int(number(body.get("repeats")) or 0)
        change = provider.rules.unreachable
        (change.add if body.get("fails") is True else change.discard)(user)
        return json_response({"done": True})

    async def _traffic(self, request: web.Request) -> web.Response:
        """Return the latest requests to a provider, and its callbacks."""
        provider = self._provider(request.query)
        # Nobody looks at the rest any more.
        for each in (provider.requests, provider.responses, provider.callbacks.acknowledged):
            del each[:-_MOST]
        requests = [
            {"url": each.url, "body": _json(each.body), "answer": _json(answer.body)}
            for each, answer in zip(
                reversed(provider.requests), reversed(provider.responses), strict=False
            )
        ]
        callbacks = list(reversed(provider.callbacks.acknowledged))
        adapter = self.bridge.adapters[request.query["adapter"]]
        told = [_words(adapter, body) for body in callbacks]
        return json_response({"requests": requests, "callbacks": callbacks, "told": told})

    def _provider(self, values: Mapping[str, object]) -> SimulatedProvider:
        provider = self.providers.get(str(values.get("adapter")))
        if provider is None:
            raise BadRequest("adapter: expected one whose provider is simulated")
        return provider


def _words(adapter: object, body: JsonValue) -> str:
    """Return what a callback tells, such as `message text`."""
    source = cast("Source", adapter)  # its provider is simulated
    events = events_of(source, signed(source, body, datetime.now(UTC)))
    return ", ".join(dict.fromkeys(map(_what, events)))


def _what(event: Event) -> str:
    match event:
        case Message():
            return f"message, {event.content.kind}"
        case StatusChange():
            return f"status, {event.status}"
    return event.kind.replace("_", " ")


def _user(body: Mapping[str, object]) -> str:
    user = word(body.get("user"), "user")
    if not user or not (phone(user) or "." in user):
        raise BadRequest("user: expected + and digits, or the user id of a hidden phone")
    return user


def _media_of(content: Content, card: int) -> Media | None:
    """Return the file that a content shows, or one of its cards."""
    match content:
        case Media():
            return content
        case Menu():
            return content.media
        case Carousel() if card < len(content.cards):
            return content.cards[card].media
        case _:
            return None


def _with_file(media: Media, file: str, provider: SimulatedProvider) -> Media:
    """Return a media with the file that its provider keeps. Raises `BadRequest`."""
    content = provider.simulation.files.get(file)
    if content is None:
        raise BadRequest("file: the provider keeps none of this id")
    return attrs.evolve(
        media,
        media_id=file,
        url=Files.link(provider.url, file),
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _said(value: JsonValue) -> Said:
    """Return what a user says. Raises `BadRequest`."""
    with suppress(CodecError):
        content = content_from_dict(value)
        if isinstance(content, Said):
            return content
    raise BadRequest("content: expected a text, choice, location or media")


def _json(body: bytes) -> object:
    if not body:
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return f"{len(body)} bytes that are no JSON"


@asynccontextmanager
async def rehearsing(bridge: Bridge) -> AsyncIterator[Chat]:
    """Simulate the providers of a bridge's adapters; enter it before the bridge."""
    chat = Chat(bridge, {}, {}, set(_USERS))
    async with AsyncExitStack() as stack:
        for place, (name, adapter) in enumerate(bridge.adapters.items()):
            if not isinstance(adapter, SimulationSource):
                continue
            provider = await stack.enter_async_context(SimulatedProvider())
            # Two adapters of one channel are not to give the same id to two messages.
            first = int(time.time()) + place * _APART
            rehearsal = adapter.rehearsal(provider.url, first=first)
            simulation = provider.play(adapter, simulation=unlimited(rehearsal.simulation))
            simulation.rules.status_every = _STATUS_EVERY
            if simulation.user_id is not None:
                chat.users.add(simulation.user_id)
            provider.callbacks.patience = _PATIENCE
            real = sender_of(adapter)
            if real is None:
                _log.info("adapter %s has no credentials: all that it sends is simulated", name)
            chat.providers[name] = provider
            chat.senders[name] = Rehearsed(rehearsal.sender, real, chat.users)
            bridge.send_through(name, chat.senders[name])
            files = rehearsal.files
            if files is not None and isinstance(adapter, MediaSource):
                files = RehearsedFiles(provider, files, adapter)
            bridge.fetch_through(name, files, provider.url)
        yield chat
