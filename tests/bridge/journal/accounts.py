"""Accounts of one user's message, as two families of callbacks tell it: one well, one poorly."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import strategies as st

from bridge.model import (
    Content,
    Conversation,
    Event,
    Location,
    Media,
    MediaKind,
    Message,
    Party,
    ReplyTo,
    Text,
)
from bridge.model.keys import conversation_id
from tests.bridge.events import ACCOUNT, USER_PHONE, message

USER_ID = "US.13491208655302741918"
SETTLE = 2.0

_MEDIA = {
    "media_id": "2754859441498128",
    "url": "https://media.example/2754859441498128",
    "mime_type": "image/jpeg",
    "caption": "Taj Mahal",
    "filename": "taj.jpg",
    "size": 30_000,
}
_LOCATION = {"name": "Taj Mahal", "address": "Agra", "url": "https://maps.example/taj"}


def told(message_id: str = "wamid.1", *, party: Party, **fields: Any) -> Message:
    """Return a full account; its conversation is the one that an adapter makes of the party."""
    identity = party.phone or party.user_id or f"message:{message_id}"
    where = Conversation(id=conversation_id("whatsapp", ACCOUNT, identity))
    return message(message_id, **{"sender": party, "conversation": where, **fields})


def poorly(account: Message, number: str = "9001", **fields: Any) -> Message:
    """Return an account as a provider's second family gives it: it is to settle."""
    numbered = {"aliases": (number,), "id_space": "incs", "settle": SETTLE}
    where = attrs.evolve(account.conversation, provider_id="260400000100")
    return attrs.evolve(account, **{"conversation": where, **numbered, **fields})


@st.composite
def some_of(draw: st.DrawFn, values: dict[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in draw(st.sets(st.sampled_from(sorted(values))))}


@st.composite
def contents(draw: st.DrawFn) -> tuple[Content, Content]:
    """Return what a good and a poor account make of the same content."""
    if draw(st.booleans()):
        good: Content = Media(media=MediaKind.IMAGE, **draw(some_of(_MEDIA)))
        poor: Content = Media(media=MediaKind.IMAGE, **draw(some_of(_MEDIA)))
    else:
        place = {"latitude": 27.17, "longitude": 78.04}
        good = Location(**place, **draw(some_of(_LOCATION)))
        poor = Location(**place, **draw(some_of(_LOCATION)))
    words = st.sampled_from([Text(text="[unsupported]"), Text(text="Taj Mahal")])
    return good, draw(st.one_of(st.just(poor), words))


@st.composite
def both_accounts(draw: st.DrawFn) -> tuple[Message, Message]:
    """Return the two accounts of a message, consistent with each other."""
    good, poor = draw(contents())
    facts = {
        "reply_to": ReplyTo(message_id="wamid.0", text="Where to?"),
        "history_status": None,
    }
    names = st.fixed_dictionaries({}, optional={"name": st.just("Kerry")})
    ids = st.sampled_from(
        [{"phone": USER_PHONE}, {"user_id": USER_ID}, {"phone": USER_PHONE, "user_id": USER_ID}]
    )
    full = told(party=Party(**draw(ids), **draw(names)), content=good, **draw(some_of(facts)))
    other = told(party=Party(**draw(ids), **draw(names)), content=poor, **draw(some_of(facts)))
    return full, poorly(other)


def facts_of(account: Message) -> object:
    """Return what a subscriber knows of a message after this account of it."""
    return (
        account.content,
        {account.message_id, *account.aliases},
        account.sender,
        account.reply_to,
        account.conversation.provider_id,
    )


@st.composite
def histories(draw: st.DrawFn, events: list[Event]) -> list[Event | None]:
    """Return events in any order, any of them again, and None where time goes by."""
    again = draw(st.lists(st.sampled_from(events), max_size=3))
    pauses = draw(st.integers(0, 2))
    return draw(st.permutations([*events, *again, *[None] * pauses]))
