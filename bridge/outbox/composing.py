"""From what a caller asks for to the messages that go out for it."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final, Literal, TypeAlias, TypedDict, get_args
from uuid import UUID

import attrs

from bridge.adapter import Route, fitting
from bridge.adapter.payload import phone
from bridge.delivery.attempt import turn
from bridge.errors import CodecError, Unsendable
from bridge.journal.tracks import in_domain
from bridge.model import (
    Content,
    Conversation,
    ConversationKind,
    Direction,
    Event,
    Intent,
    Media,
    Message,
    Origin,
    Party,
    ReplyTo,
    Role,
    Template,
    Text,
)
from bridge.model.codec import content_from_dict, content_to_dict
from bridge.model.frozen import changer, quick_init
from bridge.model.keys import MAX_ID, OURS, conversation_id, message_key
from bridge.outbox.ways import Way, Ways
from bridge.settings import seconds

When: TypeAlias = datetime | timedelta | float | str
"""A time, or how long from now: in seconds, or written as in the settings, such as "1h"."""

Adapt: TypeAlias = Literal["degrade", "strict"]
"""What to do with what a channel cannot carry as it is: something close to it, or nothing."""

_ADAPTS: Final = get_args(Adapt)
_under: Final[Callable[..., Message]] = changer(Message, "key")
_as: Final[Callable[..., Party]] = changer(Party, "role")
_NAMESPACE: Final = UUID("6d1a3c8e-52b1-5c3f-9d0a-0c8d4e2b7f11")  # another one would send again
_VARIANTS: Final = dict(zip("0123456789abcdef", 4 * "89ab", strict=True))  # RFC 9562, 4.1
_named: Final = hashlib.sha1(_NAMESPACE.bytes, usedforsecurity=False)
_LONGEST_KEY: Final = 512
_MOST_PARTS: Final = 50
_DIALLED: Final = frozenset("0123456789+-.()/")


class Asking(TypedDict, total=False):
    """What may be said of a message that is to be sent.

    A message that is sent again under a `key` is not sent twice. `otherwise`, a template, goes
    where the provider takes nothing else. `fallback` names the ways out that are tried next where
    the user cannot be reached, or it fails or expires. It goes at `not_before` at the earliest, and
    is given up after `expires`: a time, or how long from now. With `adapt` "strict", a content that
    the channel can only carry degraded or in parts is refused. With `force`, a marketing template
    goes also to a user who has opted out.
    """

    key: str | None
    otherwise: Template | None
    fallback: Sequence[str]
    not_before: When | None
    expires: When | None
    adapt: Adapt
    force: bool


class Answering(Asking, total=False):
    """What may be said of an answer; with `quote` the user's message is quoted."""

    quote: bool


@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Wish:
    """A content and what is asked of it, as `Asking` says, at the time `now`."""

    content: Content | str
    now: datetime
    key: str | None = None
    otherwise: Template | None = None
    fallback: Sequence[str] = ()
    not_before: When | None = None
    expires: When | None = None
    adapt: Adapt = "degrade"
    force: bool = False
    quote: bool = False

    def intent(self) -> Intent:
        """Return what is kept of it. Raises `Unsendable` for what cannot be meant."""
        key = self.key
        if key is None:
            current = turn.get()
            key = secrets.token_hex(16) if current is None else current.next_key()
        elif not _is_key(key):
            raise Unsendable(f"a key is 1 to {_LONGEST_KEY} characters that can be printed")
        if self.otherwise is not None and not isinstance(self.otherwise, Template):
            raise Unsendable("otherwise: expected a template")
        fallback: object = self.fallback
        if not isinstance(fallback, list | tuple) or not all(
            isinstance(via, str) for via in fallback
        ):
            raise Unsendable('fallback: expected a list of ways out, such as ["rcs"]')
        if not isinstance(self.force, bool):
            raise Unsendable("force: expected True or False")
        not_before = _instant("not_before", self.not_before, self.now)
        expires_at = _instant("expires", self.expires, self.now)
        if not_before is not None and expires_at is not None and expires_at <= not_before:
            raise Unsendable("expires: it would expire before it may go (not_before)")
        return Intent(
            key=key,
            not_before=not_before,
            expires_at=expires_at,
            otherwise=self.otherwise,
            fallback=tuple(self.fallback),
            forced=self.force or None,
        )


def answer(ways: Ways, message: Message, wish: Wish) -> tuple[Message, ...]:
    """Return what goes out in answer to a message. Raises `Unsendable`."""
    check_message(message)
    if message.direction is not Direction.INBOUND:
        raise Unsendable(
            'this is a message of the business: answer a user\'s, as with direction="inbound"'
        )
    way = ways.of(message.source)
    is_direct = message.conversation.kind is ConversationKind.DIRECT
    quoted = ReplyTo(message_id=message.message_id, sender=message.sender) if wish.quote else None
    draft = _draft(
        way,
        wish,
        domain=message.domain,
        channel=message.channel,
        account=message.account,
        conversation=message.conversation,
        sender=_as(message.recipient, role=Role.BUSINESS),
        recipient=message.sender if is_direct else Party(),
        reply_to=quoted,
    )
    return _fitting(way, draft, wish)


def check_message(given: object) -> None:
    """Raise `Unsendable` for what is no message, as the list of a burst or a status."""
    if not isinstance(given, Message):
        raise Unsendable(f"expected the message to answer, found a {type(given).__name__}")


def first(way: Way, route: Route, to: str | Party, wish: Wish) -> tuple[Message, ...]:
    """Return what goes out to somebody. Raises `Unsendable`."""
    recipient = party(to)
    identity = recipient.phone or recipient.user_id or ""
    conversation = conversation_id(route.channel, route.account, identity)
    draft = _draft(
        way,
        wish,
        domain=way.domain,
        channel=route.channel,
        account=route.account,
        conversation=Conversation(id=f"{way.domain}/{conversation}"),
        sender=Party(phone=route.phone, role=Role.BUSINESS),
        recipient=recipient,
        reply_to=None,
    )
    return _fitting(way, draft, wish)


def party(to: object) -> Party:
    """Return whom a phone number or a provider's user id names. Raises `Unsendable`."""
    if isinstance(to, str):
        number, name = phone(to), to.strip()
        is_id = name.isprintable() and not any(map(str.isspace, name))
        # Digits alone are a phone's that lacks its country, as one that begins with a zero does.
        is_id = is_id and not set(name) <= _DIALLED
        to = Party(phone=number, user_id=name if number is None and is_id else None)
    elif isinstance(to, Party) and to.phone:
        to = attrs.evolve(to, phone=phone(to.phone))
    if not isinstance(to, Party) or not (to.phone or to.user_id):
        raise Unsendable("nobody to send to: give a phone with its country's code, or a user id")
    if to.user_id and len(to.user_id.encode("utf-8", "surrogatepass")) > MAX_ID:
        raise Unsendable(f"a user id of more than {MAX_ID} bytes")
    return to


def _draft(
    way: Way,
    wish: Wish,
    *,
    domain: str | None,
    channel: str,
    account: str | None,
    conversation: Conversation,
    sender: Party,
    recipient: Party,
    reply_to: ReplyTo | None,
) -> Message:
    intent = wish.intent()
    message_id = _id_of(domain, intent.key)
    key = message_key(OURS, message_id)
    return Message(
        key=key if domain is None else f"{domain}/{key}",
        source=way.source,
        domain=domain,
        channel=channel,
        account=account,
        occurred_at=wish.now,
        received_at=wish.now,
        raw={},
        message_id=message_id,
        id_space=OURS,
        direction=Direction.OUTBOUND,
        origin=Origin.BRIDGE,
        conversation=conversation,
        sender=sender,
        recipient=recipient,
        content=_content(wish.content),
        reply_to=reply_to,
        intent=intent,
    )


def _id_of(domain: str | None, key: str) -> str:
    """Return a UUID of version 5 in a quarter of the time that `uuid` takes."""
    named = _named.copy()
    named.update(f"{domain or ''}/{key}".encode())
    text = named.hexdigest()
    return (
        f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANTS[text[16]]}{text[17:20]}-{text[20:32]}"
    )


def part_before(message: Message) -> Message | None:
    """Return what names the part before one of a long text; None where it is no later part."""
    intent = message.intent
    if intent is None or intent.part == 1:
        return None
    before = fitting.id_of_part(_id_of(message.domain, intent.key), intent.part - 1)
    return attrs.evolve(message, message_id=before)


def _content(given: object) -> Content:
    """Return a content as the journal will give it back. Raises `Unsendable` for what is none."""
    if isinstance(given, str):
        return Text(text=given)
    if not isinstance(given, Content):
        raise Unsendable(f"expected a text or a content, found a {type(given).__name__}")
    try:
        return content_from_dict(content_to_dict(given))
    except CodecError as error:
        raise Unsendable(str(error)) from error


def keyed(message: Message) -> Message:
    """Return a message under the key that its id has."""
    return _under(message, in_domain(message, message_key(OURS, message.message_id)))


def _fitting(way: Way, draft: Message, wish: Wish) -> tuple[Message, ...]:
    """Return a message in the parts that its channel takes, each of which can be composed."""
    capabilities = way.capabilities(draft.channel)
    if wish.adapt not in _ADAPTS:
        raise Unsendable('adapt: expected "degrade" or "strict"')
    # The id of a part is made from that of the first one, and its key from its id.
    parts = fitting.parts(draft, capabilities, strict=wish.adapt == "strict")
    if len(parts) > _MOST_PARTS:
        raise Unsendable(f"it takes {len(parts)} messages, and {_MOST_PARTS} are possible")
    messages = tuple(map(_numbered, parts, count(1))) if len(parts) > 1 else parts
    for message in messages:
        way.sender.compose(message)
    return messages


def _numbered(message: Message, part: int) -> Message:
    intent = message.intent if part == 1 else _without_template(message)  # one is enough
    if intent is None:
        return keyed(message)
    return keyed(attrs.evolve(message, intent=attrs.evolve(intent, part=part)))


def check_others(ways: Ways, message: Message, wish: Wish) -> None:
    """Check what may go in a message's place: other ways, and a template on one that has them.

    Raises `ConfigurationError` for a way that is none, and `Unsendable`.
    """
    others = [ways.find(via) for via in wish.fallback]
    if wish.otherwise is None:
        return
    template = attrs.evolve(message, content=wish.otherwise, reply_to=None)
    own = ways.of(message.source)
    if not own.capabilities(message.channel).templates:
        for way, route in others:
            if way.capabilities(route.channel).templates:
                way.sender.compose(rerouted(template, way, route))
                return
    own.sender.compose(template)


def _without_template(message: Message) -> Intent | None:
    return None if message.intent is None else attrs.evolve(message.intent, otherwise=None)


def rerouted(message: Message, way: Way, route: Route) -> Message:
    """Return a message as it goes out another way, where ids of files are not known."""
    identity = message.recipient.phone or message.recipient.user_id or ""
    conversation = conversation_id(route.channel, route.account, identity)
    moved = attrs.evolve(message, source=way.source, domain=way.domain)
    return attrs.evolve(
        moved,
        content=_without_ids(message.content),
        channel=route.channel,
        account=route.account,
        conversation=Conversation(id=in_domain(moved, conversation)),
        sender=Party(phone=route.phone, role=Role.BUSINESS),
        reply_to=None,
    )


def in_its_place(message: Message, template: Template) -> Message:
    """Return the template that goes out in a message's place."""
    return attrs.evolve(message, content=template, reply_to=None, intent=_without_template(message))


def is_same(sent: Event, asked: Message, otherwise: Template | None) -> bool:
    """Return whether a message says the same to the same user from the same account.

    A template that has gone `otherwise` says the same, and so does a file that was uploaded twice.
    """
    return (
        isinstance(sent, Message)
        and _by_checksum(sent.content) in (_by_checksum(asked.content), _by_checksum(otherwise))
        and (sent.channel, sent.account) == (asked.channel, asked.account)
        and (sent.recipient.phone or sent.recipient.user_id)
        == (asked.recipient.phone or asked.recipient.user_id)
    )


def _by_checksum(content: Any) -> Any:  # noqa: ANN401 - whatever a message holds
    """Return a content whose files go by their checksum: each upload has an id of its own."""
    return _without_ids(content, lambda file: file.url is None and file.sha256 is not None)


def _without_ids(value: Any, which: Callable[[Media], bool] = lambda _: True) -> Any:  # noqa: ANN401
    """Return a content without the ids of its files, or of those that are meant."""
    if isinstance(value, Media):
        return attrs.evolve(value, media_id=None) if which(value) else value
    if isinstance(value, tuple):
        return tuple(_without_ids(each, which) for each in value)
    if attrs.has(type(value)):
        fields = [field.name for field in attrs.fields(type(value)) if field.init]
        parts = {name: _without_ids(getattr(value, name), which) for name in fields}
        return attrs.evolve(value, **parts)
    return value


def _is_key(key: object) -> bool:
    return isinstance(key, str) and 0 < len(key) <= _LONGEST_KEY and key.isprintable()


def _instant(name: str, when: When | None, now: datetime) -> datetime | None:
    if when is None:
        return None
    if isinstance(when, datetime):
        if when.utcoffset() is None:
            raise Unsendable(f"{name} is a time without its zone")
        try:
            return when.astimezone(UTC)
        except OverflowError:
            raise Unsendable(f"{name} is beyond the years 1 to 9999 of UTC") from None
    told = seconds(when) if isinstance(when, str) else when
    if isinstance(told, int | float) and not isinstance(told, bool):
        with suppress(ValueError, OverflowError):
            told = timedelta(seconds=told)
    if isinstance(told, timedelta):
        with suppress(OverflowError):
            return now + told
    raise Unsendable(f'{name} is neither a time nor a duration such as "1h"')
