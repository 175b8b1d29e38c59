"""Code as a user writes it: mypy accepts all of it, and refuses each line marked with an error.

Checked by the type checker, never run. `assert_type` says what a subscriber gets.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, assert_never, assert_type

from aiohttp import web
from fastapi import FastAPI

from bridge import (
    Bridge,
    Callback,
    CallPermission,
    Carousel,
    Choice,
    Contacts,
    Content,
    Deletion,
    Direction,
    Edit,
    Event,
    Form,
    Location,
    Media,
    MemoryJournal,
    Menu,
    Message,
    Native,
    Notice,
    Option,
    Order,
    Party,
    Reaction,
    Receipt,
    Response,
    Secret,
    Start,
    StatusChange,
    System,
    Template,
    Text,
    Typing,
    Unsupported,
)
from bridge.adapters.incs import IncsSettings
from bridge.adapters.whatsapp import WhatsAppSettings
from bridge.testing import TestBridge

bridge = Bridge.from_toml("config.toml")
embedded = Bridge(journal=MemoryJournal())


@bridge.on(Message, channel="whatsapp", content=Text)
async def greet(message: Message[Text]) -> None:
    assert_type(message.sender, Party)
    assert_type(message.content, Text)


@bridge.on(Message)
async def converse(message: Message) -> None:
    assert_type(message.content, Content)
    if isinstance(message.content, Text):
        assert_type(message.content.text, str)


# Who takes any message takes one that holds a text too, and not the other way round.
bridge.on(Message, content=Text)(converse)
bridge.on(Message, content=Location)(greet)  # type: ignore[arg-type]
bridge.on(Message)(greet)  # type: ignore[arg-type]


@bridge.on(Message, content=(Text, Media))
async def words_and_files(message: Message[Text | Media]) -> None:
    assert_type(message.content, Text | Media)


@bridge.on(Message, content=(Text, Media, Choice))
async def three_contents(message: Message[Text | Media | Choice]) -> None:
    assert_type(message.content, Text | Media | Choice)


@bridge.on(Message, content=(Text, Media, Choice, Location))
async def many_contents(message: Message) -> None:
    assert_type(message.content, Content)


@bridge.on(Message, content=Text, gather="3s")
async def burst(messages: list[Message[Text]]) -> None:
    assert_type(messages[0].content, Text)


@bridge.on(Message, gather=3.0)
async def any_burst(messages: list[Message]) -> None:
    assert_type(messages[0].content, Content)


bridge.on(Message, content=Text, gather="3s")(greet)  # type: ignore[arg-type]
bridge.on(Message, content=(Text, Choice))(greet)  # type: ignore[arg-type]


async def tests_of_subscribers() -> None:
    async with TestBridge(bridge) as test:
        await test.say("hello", name="Maya")
        assert_type(test.sent, list[Content])


applications = FastAPI(lifespan=bridge.lifespan)
applications.mount("/callbacks", bridge.asgi())


@bridge.on(StatusChange, name="crm", start=Start.BEGINNING)
def track(change: StatusChange) -> None:
    assert_type(change.advanced, bool | None)


@bridge.on(Message, StatusChange, direction=Direction.INBOUND)
async def either(event: Message | StatusChange) -> None:
    assert_type(event.message_id, str)


@bridge.on(Message, Notice, Typing, account="30058")
async def three(event: Message | Notice | Typing) -> None:
    assert_type(event.channel, str)


@bridge.on(Event)
def everything(event: Event) -> None:
    assert_type(event.key, str)


# What listens to everything may listen to less.
bridge.on(Message)(everything)
bridge.on(Message)(track)  # type: ignore[arg-type]
bridge.on(StatusChange)(converse)  # type: ignore[arg-type]
bridge.on(Message, content=str)(converse)  # type: ignore[type-var, arg-type]


# A decorated function stays what it was.
async def again(message: Message) -> None:
    await converse(message)
    track(message)  # type: ignore[arg-type]


def every_content(content: Content) -> str:
    """Name every kind of content; a new one makes this fail."""
    match content:
        case Text() | Media() | Location() | Contacts() | Choice() | Form() | Reaction():
            return content.kind
        case Order() | Template() | Edit() | Deletion() | System():
            return content.kind
        case CallPermission() | Unsupported():
            return content.kind
        case Menu() | Carousel() | Native() | Receipt():
            return content.kind
        case _:
            assert_never(content)


async def embed() -> None:
    app = web.Application()
    bridge.mount(app)
    async with embedded:
        callback = Callback(body=b"{}", received_at=datetime.now(UTC), headers={"X-Token": "t"})
        assert_type(await embedded.receive("incs", callback), Response)


async def remember(message: Message) -> None:
    """A state is a dictionary, for a message, a conversation or its id."""
    async with bridge.state(message.conversation, ttl="1h") as state:
        state["count"] = state.get("count", 0) + 1
    async with bridge.state(message, name="cart") as state, bridge.state("id", ttl=5) as other:
        assert_type(state, dict[str, Any])
        other.clear()
    bridge.state(message.sender)  # type: ignore[arg-type]


def written_by_hand() -> Content:
    """A menu reads as one writes it, with its options in any collection."""
    return Menu("What next?", options=[Option("track", "Track my order"), Option("agent", "Talk")])


def frozen(message: Message) -> None:
    message.key = "other"  # type: ignore[misc]


def secrets() -> None:
    """Settings take secrets as they are, and hold them so that they are not shown."""
    settings = WhatsAppSettings(app_secrets=("old", Secret("new")), verify_tokens="a word")
    assert_type(settings.app_secrets, tuple[Secret, ...])
    IncsSettings(tokens=[b"bytes"])  # type: ignore[list-item]
