"""One happening, one event, told whole: what becomes of an event that is appended.

Pure decisions over a `Ledger`, so that every engine decides alike.

The same message may be told more than once, by callbacks that know different things. The first
full account is published. A poorer one (`Message.settle`) waits in the queue of its lane until a
full one comes or its time is over, and what follows in its lane waits behind it. An account that
comes later and knows more is published as a completion of the first. What could not be shown is a
happening of its own, unless it waits for the message that it is in the place of, or comes after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Final, TypeAlias

import attrs

from bridge.journal import about, changes, identity, ours, tracks, untimed, users, waiting
from bridge.journal.lanes import lane_of
from bridge.journal.ledger import Ledger, Track, User
from bridge.journal.query import JOINED
from bridge.journal.telling import is_more, is_of_status, is_told, together, told_of_status
from bridge.journal.users import Joined
from bridge.journal.waiting import Published
from bridge.model import (
    Choice,
    ConsentChange,
    Conversation,
    ConversationKind,
    Deletion,
    Direction,
    Edit,
    Event,
    Handover,
    JsonValue,
    Media,
    Message,
    Notice,
    Origin,
    Reaction,
    StatusChange,
    System,
    Text,
    Unsupported,
)
from bridge.model.frozen import changer, evolved
from bridge.model.keys import (
    OURS,
    deletion_key,
    event_key,
    is_untimed,
    message_key,
    shown_key,
    unshown_key,
    unshown_key_of,
    unshown_prefix,
)

Decision: TypeAlias = tuple[bool, Sequence[Published]]
"""Whether an event is new to the journal, and what is published now because of it.

Something new may have to wait, and something known may end the waiting of others.
"""

_DUPLICATE: Final[Decision] = (False, ())
_GROUP: Final = ConversationKind.GROUP
_OUTBOUND: Final = Direction.OUTBOUND
_IMPORTED: Final = Origin.HISTORY
_USUAL: Final = frozenset({Text, Media, Choice})  # also of what may have been told not shown
_ABOUT: Final = frozenset({Edit, Reaction})
_moved: Final = changer(Message, "conversation")


def correlate(event: Event, ledger: Ledger) -> Decision:
    """Decide what becomes of an event. Raises `CodecError`."""
    if type(event) is Message:
        if event.intent is None:
            return _usual(event, ledger) or _message(event, ledger)
        published = ours.sent(event, ledger)
        return _message(event, ledger) if published is None else (True, published)
    if isinstance(event, StatusChange):
        if event.id_space == OURS and (published := ours.answered(event, ledger)) is not None:
            return True, published
        return _status(event, ledger)
    conversation: Conversation | None = getattr(event, "conversation", None)
    # A repetition may tell a further name of its user, and all names are remembered.
    if (
        ledger.knows(event.key)
        and not is_untimed(event)
        and (conversation is None or ledger.known(event.key) is None)
    ):
        return _DUPLICATE
    before: Sequence[Published] = ()
    names: Sequence[str] = ()
    if conversation is not None:
        conversation, user, joined = users.settle(event, conversation, ledger)
        before = _join(event, joined, ledger) if joined else ()
        if isinstance(event, ConsentChange | Handover) and user is not None:
            event, names = changes.of_user(event, user, ledger)
        event = identity.with_names(evolved(event, conversation=conversation), user)
    new = untimed.follow(event, ledger)
    if new is None:
        return False, before
    return True, (*before, *waiting.publish_or_wait(new, (new.key, *names), ledger))


def first_keys(event: Event) -> Sequence[str]:
    """Return the keys that deciding on an event looks at first: an engine may read them before.

    Of an event that breaks the model nothing need be read.
    """
    try:
        if type(event) is Message and not event.aliases and event.sender.phone:  # as nearly all
            return (event.key,)
        if isinstance(event, StatusChange) and event.id_space == OURS and event.resolved:
            return (event.key, tracks.key_of(event))
        keys = _keys_of(event)
        return (*keys, unshown_key_of(event)) if type(event) is Message else keys
    except Exception:  # noqa: BLE001 - a third party's event; `correlate` says what is wrong
        return ()


def first_names(event: Event) -> tuple[Sequence[str], Sequence[str]]:
    """Return the names of records and the lanes that deciding on an event looks at first."""
    try:
        return _names_of(event), (lane_of(event),)
    except Exception:  # noqa: BLE001 - as above
        return (), ()


def first_records(event: Event) -> Sequence[str]:
    """Return the names of records that deciding on an event looks at first."""
    try:
        return _names_of(event)
    except Exception:  # noqa: BLE001 - as above
        return ()


def _names_of(event: Event) -> Sequence[str]:
    names = identity.names_of(event)
    if type(event) is Message:
        if not names or _is_remembered(event):
            return (*names, *tracks.names_of(event))
        return (*names, identity.name_of_awaited(event))
    if isinstance(event, StatusChange):
        ours = tracks.names_of_ours(event) if event.id_space is None else ()  # else among those
        return (*names, *tracks.names_of(event), *ours)
    return names


def _keys_of(event: Event) -> tuple[str, ...]:
    """Return all names of what an event tells; its own key is the first.

    What could not be shown of a message has names of its own.
    """
    if not isinstance(event, Message):
        return (event.key,)
    others: Iterable[str] = _alias_keys(event) if event.aliases else ()
    if shown_key(event) is not None:
        others = map(unshown_key, others)
    elif type(event.content) is Deletion and event.intent is None:
        # A status tells it by what was deleted. What we ask for may fail, and be asked for anew.
        others = (*others, deletion_key(event.channel, event.content.message_id))
    elif type(event.content) is System:
        others = (*others, *changes.names_of_change(event))
    return (event.key, *(tracks.in_domain(event, other) for other in others))


def _shown_keys_of(message: Message) -> tuple[str, ...]:
    """Return all names of the message that one is in the place of; none for any other message."""
    shown = shown_key(message)
    if shown is None:
        return ()
    return (shown, *(tracks.in_domain(message, key) for key in _alias_keys(message)))


def _alias_keys(message: Message) -> Sequence[str]:
    return [message_key(message.id_space or "", alias) for alias in message.aliases]


# --- messages ------------------------------------------------------------------------------


def _usual(message: Message, ledger: Ledger) -> Decision | None:
    """Decide on a message as nearly all are: a user's, new, of one name, with nobody in its way.

    None says that there is more to look at.
    """
    key = message.key
    if (
        message.aliases
        or message.settle
        or type(message.content) not in _USUAL
        or ledger.knows(key)
    ):
        return None
    if message.sender.phone is None and (
        message.reply_to is not None or ledger.knows(unshown_key_of(message))
    ):
        return None
    lane = message.conversation.id
    if ledger.queue(lane) is not None or not identity.is_settled(message, ledger):
        return None
    ledger.claim(key)
    return True, ((message, lane),)


def _message(message: Message, ledger: Ledger) -> Decision:
    if message.id_space not in (None, OURS):
        message = about.quoting(message, ledger)
    message, more_names = about.of_what_is_deleted(message, ledger)
    keys = (*_keys_of(message), *more_names)
    others = _shown_keys_of(message)
    if message.settle is None and not _is_known_from_then(message, others, ledger):
        others = ()
    known_keys = list(filter(ledger.knows, (*others, *keys)))
    if not known_keys:
        whole = about.with_unshown(message, ledger)
        if whole is not message:
            if whole.key != message.key:  # what was not shown of it has told the channel's own id
                return _message(whole, ledger)
            keys = _keys_of(whole)
        message, user, before = _in_its_conversation(whole, ledger)
        message = identity.with_names(message, user)
        names = (*keys, *others)
        published = waiting.publish_or_wait(message, names, ledger, settle=message.settle)
        return True, (*before, *published) if before else published
    if message.intent is not None:  # the same intent once more, whatever it says now
        return _DUPLICATE
    found = [known.event for key in known_keys if (known := ledger.known(key)) is not None]
    accounts = {event.key: event for event in found}
    if others:  # a message that is shown has what was known of it before
        shown = {key: event for key, event in accounts.items() if shown_key(event) is None}
        accounts = shown or accounts
    if not accounts:  # erased, or too old
        _claim_others(keys, known_keys[0], ledger)
        return _DUPLICATE
    messages = [event for event in accounts.values() if isinstance(event, Message)]
    if not ledger.knows(message.key):  # only under another name
        message = about.with_unshown(message, ledger)
    elif any(each.origin is _IMPORTED for each in messages):
        message = about.of_import(message, ledger)
    whole, _, before = _in_its_conversation(reduce(together, (*messages, message)), ledger)
    is_new, published = _told_again(message, whole, tuple(accounts.values()), keys, ledger)
    return is_new, (*before, *published)


def _is_known_from_then(unshown: Message, keys: Sequence[str], ledger: Ledger) -> bool:
    """Return whether the message with these keys is known, and of the time of what is not shown.

    An edit that cannot be shown is of another time.
    """
    found = map(ledger.known, keys)
    return any(each is not None and each.event.occurred_at == unshown.occurred_at for each in found)


def _in_its_conversation(
    message: Message, ledger: Ledger
) -> tuple[Message, User | None, Sequence[Published]]:
    """Return a message in the conversation that it belongs to, and remember that it does.

    With its user, and what is to be published before it.
    """
    if type(message.content) is Deletion:
        message = about.of_its_author(message, message.content.message_id, ledger)
    elif type(message.content) in _ABOUT or not about.tells_user(message):
        message = about.of_its_user(message, ledger)
    where, track = message.conversation, None
    is_remembered = _is_remembered(message)
    if is_remembered or identity.is_awaited(message, _alias_keys(message), ledger):
        track = tracks.find(message, ledger)
        if track is not None and not is_remembered:  # deleted before it was told
            is_remembered = tracks.is_placed(track, where) or (
                track.user is not None and where.kind is not _GROUP
            )
            track = track if is_remembered else None
    known_as = about.whose(message, ledger) if track is None else tracks.whose(track, ledger)
    conversation, user, joined = users.settle(message, where, ledger, known_as)
    if user is None:  # nobody is told
        track = track or tracks.find(message, ledger)
        if track is not None and not (where.kind is _GROUP and tracks.is_placed(track, where)):
            where = track.conversation or where
            own = tracks.whose(track, ledger)
            conversation, user, joined = users.settle(message, where, ledger, own)
    if track is not None:
        joined = (*joined, *_named_now(track, message, conversation))
    before = _join(message, joined, ledger) if joined else ()
    if is_remembered:
        tracks.learn(message, conversation, user, ledger)
        if user is not None:
            about.note_unshown(message, user, ledger)
        if is_of_status(message) and not ledger.knows(key := about.key_of_deleted(message)):
            identity.await_message(message, key, ledger)
    if conversation is not message.conversation:
        message = _moved(message, conversation)
    return message, user, before


def _is_remembered(message: Message) -> bool:
    """Return whether a message has a track: what may be told of it without its user."""
    return (
        message.direction is _OUTBOUND
        or type(message.content) is Unsupported
        or is_of_status(message)
    )


def _told_again(
    message: Message, whole: Message, known: Sequence[Event], keys: Sequence[str], ledger: Ledger
) -> Decision:
    """Add what a further account of a message knows to what waits, or publish it as more."""
    published: list[Published] = []
    first: Event | None = None
    lanes: list[str] = []
    for event in known:
        found = ledger.known(event.key)  # anew, since its lane may have been joined to another
        if found is not None and found.lane is not None:
            lanes.append(found.lane)
        else:
            first = first or event
    keys = (*keys, *(event.key for event in known))
    place = lanes[0] if lanes else ""  # of the one that goes on waiting, if all of them do
    for lane in lanes:
        if first is not None or lane != place:
            keys, freed = waiting.take(lane, keys, ledger)
            published += freed
    if first is None:
        keys = (*keys, *_keys_of(whole))
        return False, (*published, *waiting.enrich(place, whole, keys, ledger))
    prefix, is_unshown = unshown_prefix(first.domain), shown_key(first) is not None
    names = (*keys, *_keys_of(whole))
    same = [key for key in names if key.startswith(prefix) is is_unshown]
    _claim_others(same, first.key, ledger)
    latest, more = about.latest(first.key, ledger)
    if more is None or not isinstance(latest, Message):
        return False, published
    account = together(latest, whole)
    if not is_more(account, latest):
        return False, published
    completion = evolved(
        account,
        key=more,
        completes=first.key,
        newly_owned=True if account.owned and not latest.owned else None,
        newly_live=True if latest.origin is _IMPORTED and account.origin is not _IMPORTED else None,
        conversation=attrs.evolve(account.conversation, id=whole.conversation.id),
        source=message.source,
        raw=message.raw,
        occurred_at=message.occurred_at,
        received_at=message.received_at,
    )
    return True, (*published, *waiting.publish_or_wait(completion, (more,), ledger))


def _claim_others(keys: Sequence[str], of: str, ledger: Ledger) -> None:
    for key in keys:
        if key != of and not ledger.knows(key):
            ledger.claim(key, of)


# --- statuses ------------------------------------------------------------------------------


def _status(change: StatusChange, ledger: Ledger) -> Decision:
    if ledger.knows(change.key) and ledger.known(change.key) is None:
        return _DUPLICATE  # it has been erased, and leaves nothing behind again
    early, before = tracks.tie(change, ledger)
    if early is not None:
        before = (*before, *_message(early, ledger)[1])
    track = tracks.track_of(change, ledger)
    conversation = track.conversation or change.conversation
    if tracks.is_placed(track, change.conversation):
        conversation = change.conversation
    user: User | None = None
    if conversation is not None:
        own = tracks.whose(track, ledger)
        conversation, user, joined = users.settle(change, conversation, ledger, own)
        joined = (*joined, *_named_now(track, change, conversation))
        before = (*before, *_join(change, joined, ledger)) if joined else before
    change, keys, track = tracks.observe(change, track, conversation, user)
    for key in keys:
        if ledger.knows(key):
            is_new, published = _status_again(change, key, ledger)
            return is_new, (*before, *published)
    ledger.save(track)
    change = identity.with_names(change, user)
    return True, (*before, *waiting.publish_or_wait(change, (change.key,), ledger))


def _status_again(change: StatusChange, key: str, ledger: Ledger) -> Decision:
    """Publish a repeated status that says more than was said, or else; it moves nothing.

    One that repeats any account of it is a repetition, also after another one.
    """
    accounts, more = about.accounts(key, ledger)
    told = [each for each in accounts if isinstance(each, StatusChange)]
    if more is None or not told or any(is_told(change, each) for each in told):
        return _DUPLICATE
    change = evolved(change, **told_of_status(told[-1], change), key=more, advanced=False)
    return True, waiting.publish_or_wait(change, (more,), ledger)


# --- users ---------------------------------------------------------------------------------


def _named_now(track: Track, event: Event, conversation: Conversation) -> Sequence[Joined]:
    """Return the conversation that a message had alone as one that ends, once it is placed."""
    where = track.conversation
    if where is None or not tracks.is_placed(track, conversation) or where.id == conversation.id:
        return ()
    return ((event.account or "", where.id, conversation.id),)


def _join(event: Event, joined: Sequence[Joined], ledger: Ledger) -> Sequence[Published]:
    """Return what is to be published before an event, since conversations were joined for it."""
    before: list[Published] = []
    for account, ends, goes_on in joined:
        notice = _joined(event, account, ends, goes_on)
        if not ledger.knows(notice.key):
            before += waiting.publish_or_wait(notice, (notice.key,), ledger)
        before += waiting.move(ends, goes_on, ledger)
    return before


def _joined(event: Event, account: str, ends: str, goes_on: str) -> Notice:
    details: dict[str, JsonValue] = {"from": ends, "to": goes_on}
    return Notice(
        key=tracks.in_domain(
            event, event_key(Notice.kind, event.channel, f"{JOINED}/{ends}/{goes_on}")
        ),
        source=event.source,
        domain=event.domain,
        channel=event.channel,
        account=account or None,
        occurred_at=event.occurred_at,
        received_at=event.received_at,
        raw=details,
        topic=JOINED,
        details=details,
    )
