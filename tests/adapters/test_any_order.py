"""In whichever order callbacks tell one happening, and however often, it comes to the same.

Each law takes the callbacks that may tell of one thing, from the bodies to what a subscriber gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import orjson
from hypothesis import given
from hypothesis import strategies as st

from bridge.adapter import Adapter, Verified
from bridge.adapters.incs import Channel, Incs, IncsSettings
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.model import (
    Choice,
    ConsentChange,
    Deletion,
    Event,
    Message,
    Notice,
    Origin,
    ReplyTo,
    Status,
    StatusChange,
    System,
)
from tests.adapters.cases import RECEIVED_AT
from tests.bridge.journal.shelf import Shelf

USER: Final = "4915771234567"
USER_ID: Final = "DE.1"
BUSINESS: Final = "6281519236680"
AT: Final = "1780000000"

Body = dict[str, Any]

_INCS: Final = Incs(
    "incs",
    IncsSettings(
        insecure=True,
        channels=(
            Channel(id=30058, kind="whatsapp", business_phone=BUSINESS),
            Channel(id=30060, kind="rcs", agent_id="shop_agent"),
        ),
    ),
)
_WHATSAPP: Final = WhatsApp("whatsapp", WhatsAppSettings(insecure=True))


# --- callbacks -----------------------------------------------------------------------------


def value(**parts: Any) -> Body:
    metadata = {"display_phone_number": BUSINESS, "phone_number_id": "302"}
    return {"messaging_product": "whatsapp", "metadata": metadata, **parts}


def wrapped(**parts: Any) -> Body:
    return {"event": "new_message", "channel_id": 30058, "message": value(**parts)}


def change(field: str, **parts: Any) -> Body:
    changes = [{"field": field, "value": value(**parts)}]
    return {"object": "whatsapp_business_account", "entry": [{"id": "888", "changes": changes}]}


def written(wamid: str, **fields: Any) -> Body:
    return {"from": USER, "id": wamid, "timestamp": AT, **fields}


def created(number: int, wamid: str, **fields: Any) -> Body:
    message = {
        "id": number,
        "auth_id": 30058,
        "conversation_id": 979,
        "channel_msg_id": wamid,
        "sender": USER,
        "receiver": "incs_1",
        "type": 101,
        "content": {"content": "hi"},
        "created_at": "2026-05-28T20:26:40Z",
    }
    return {"event": "message_created", "message": message | fields}


def status_of_incs(event: str, message_id: str | int, word: str) -> Body:
    return {"event": event, "channel_id": 30058, "message_id": message_id, "message_status": word}


TEXT: Final = written("wamid.A", type="text", text={"body": "hi"})
NAMED: Final = {"contacts": [{"wa_id": USER, "profile": {"name": "Mara"}}]}


def told(adapter: Adapter, bodies: Sequence[Body | None]) -> list[Event]:
    """Return what is published; None is where the time of all that waits is over."""
    shelf = Shelf()
    for body in (*bodies, None):
        if body is None:
            shelf.wait()
            continue
        verified = Verified(payload=orjson.dumps(body), received_at=RECEIVED_AT)
        for event in adapter.parse(verified).events:
            shelf.append(event)
    return shelf.published


def orders(bodies: Sequence[Body]) -> st.SearchStrategy[list[Body | None]]:
    """Return some of these callbacks in any order and repeated, with time that goes by."""
    some = st.lists(st.sampled_from(bodies), min_size=1, max_size=8)
    pauses = st.lists(st.none(), max_size=2)
    return st.tuples(some, pauses).flatmap(lambda both: st.permutations([*both[0], *both[1]]))


# --- the laws ------------------------------------------------------------------------------

KNOWN: Final = [wrapped(**NAMED, messages=[TEXT]), created(2604, "wamid.A")]
REVOKED: Final = written("wamid.R", type="revoke", revoke={"original_message_id": "wamid.A"})
REVOCATION: Final = wrapped(**NAMED, messages=[REVOKED])
NOT_SHOWN: Final = created(2605, "wamid.R", type=106, content={})
DELETED: Final = {"id": "wamid.A", "status": "deleted", "timestamp": AT, "recipient_id": USER}


@given(
    orders(
        [
            *(REVOCATION, NOT_SHOWN, wrapped(statuses=[DELETED])),
            status_of_incs("message_status_update", "wamid.A", "deleted"),
            status_of_incs("message_status_updated", 2604, "deleted"),
        ]
    )
)
def test_a_deletion(bodies):
    """It is one event, with its own id and number as soon as anything tells them."""
    found = [each for each in told(_INCS, [*KNOWN, *bodies]) if isinstance(each, Message)]
    deletions = [each for each in found if isinstance(each.content, Deletion)]
    assert len(deletions) == 0 or [each.completes for each in deletions].count(None) == 1
    assert {each.completes for each in deletions[1:]} <= {deletions[0].key if deletions else None}
    assert {each.content.message_id for each in deletions} <= {"wamid.A"}
    assert len({each.conversation.id for each in found}) == 1
    if REVOCATION in bodies:
        last = deletions[-1]
        assert last.message_id == "wamid.R"
        assert last.aliases == (("2605",) if NOT_SHOWN in bodies else ())
        assert (last.direction, last.sender.name) == ("inbound", "Mara")


BY_PHONE: Final = change("messages", messages=[TEXT])
DELETIONS: Final = [
    change("messages", statuses=[{"id": "wamid.A", "status": "deleted", "timestamp": AT, **names}])
    for names in ({}, {"recipient_user_id": USER_ID}, {"recipient_id": USER})
]


@given(orders([BY_PHONE, *DELETIONS]))
def test_a_deletion_and_its_message(bodies):
    """Both are in one conversation in the end, whoever the deletion names and whenever it comes."""
    found = told(_WHATSAPP, [*bodies, BY_PHONE])
    goes_on = {each.details["from"]: each.details["to"] for each in found if type(each) is Notice}

    def last(conversation: str) -> str:
        while conversation in goes_on:
            conversation = goes_on[conversation]
        return conversation

    messages = [each for each in found if isinstance(each, Message)]
    assert len({last(each.conversation.id) for each in messages}) == 1
    firsts = [type(each.content) is Deletion for each in messages if each.completes is None]
    assert sorted(firsts) == [False, *[True] * any(body in DELETIONS for body in bodies)]


IMPORTED: Final = {**TEXT, "history_context": {"status": "READ"}}
IMPORT: Final = wrapped(history=[{"threads": [{"id": USER, "messages": [IMPORTED]}]}])


@given(orders([*KNOWN, IMPORT]))
def test_an_import(bodies):
    """A message is live as soon as it is told so, and where it stood when imported stays known."""
    found = [each for each in told(_INCS, bodies) if isinstance(each, Message)]
    assert [each.completes for each in found] == [None, *[found[0].key] * (len(found) - 1)]
    last, is_live = found[-1], any(body in KNOWN for body in bodies)
    assert last.origin is (Origin.USER if is_live else Origin.HISTORY)
    assert last.history_status is (Status.READ if IMPORT in bodies else None)
    was_imported = found[0].origin is Origin.HISTORY
    assert [each.newly_live for each in found].count(True) == (is_live and was_imported)


def preference(**names: str) -> Body:
    item = {"category": "marketing_messages", "value": "stop", "timestamp": int(AT), **names}
    return change("user_preferences", user_preferences=[item])


BOTH: Final = {"contacts": [{"wa_id": USER, "user_id": USER_ID}]}
TIED: Final = change("messages", **BOTH, messages=[{**TEXT, "from_user_id": USER_ID}])


@given(
    orders(
        [
            *(preference(wa_id=USER), preference(user_id=USER_ID)),
            preference(wa_id=USER, user_id=USER_ID),
        ]
    )
)
def test_a_consent(bodies):
    """It is one event, by whichever names of a user it is told."""
    found = [each for each in told(_WHATSAPP, [TIED, *bodies]) if isinstance(each, ConsentChange)]
    assert len(found) == (1 if any(bodies) else 0)


def test_a_consent_that_comes_and_goes():
    """Without a time it is told as often as it changes, by whichever names of a user."""
    shelf = Shelf()
    by_phone, by_id = {"wa_id": USER}, {"user_id": USER_ID}
    items = [
        {"category": "marketing_messages", "value": word, **names}
        for names in (by_phone, by_id, by_id, by_phone)
        for word in ("stop", "resume", "resume", "stop")
    ]
    bodies = [TIED, *(change("user_preferences", user_preferences=[item]) for item in items)]
    for minute, body in enumerate(bodies):
        at = RECEIVED_AT + timedelta(minutes=minute)
        for event in _WHATSAPP.parse(Verified(payload=orjson.dumps(body), received_at=at)).events:
            shelf.append(event)
    found = [each.granted for each in shelf.published if isinstance(each, ConsentChange)]
    assert found == [False, True, False, True, False, True, False, True, False]


RINGING: Final = {"id": "wacid.1", "status": "RINGING", "timestamp": AT, "recipient_id": USER}
ANSWERED: Final = {**RINGING, "type": "call", "status": "ACCEPTED"}


@given(
    orders(
        [
            change(field, statuses=[item])
            for field in ("messages", "calls")
            for item in (RINGING, ANSWERED)
        ]
    )
)
def test_a_call(bodies):
    """Each thing that happens to it is one event, in whichever field it is told."""
    found = [each for each in told(_WHATSAPP, bodies) if isinstance(each, Notice)]
    items = [body["entry"][0]["changes"][0]["value"]["statuses"][0] for body in bodies if body]
    assert {each.topic for each in found} <= {"call"}
    assert sorted(each.details["status"] for each in found) == sorted(
        {item["status"] for item in items}
    )


NEW_ID: Final = "DE.2"
UPDATED: Final = change(
    "user_id_update",
    user_id_update=[
        {
            "wa_id": USER,
            "user_id": {"previous": USER_ID, "current": NEW_ID},
            "timestamp": int(AT),
        }
    ],
)
ANNOUNCED: Final = change(
    "messages",
    messages=[
        written(
            "wamid.S",
            from_user_id=USER_ID,
            type="system",
            system={
                "type": "user_changed_user_id",
                "user_id": NEW_ID,
                "previous_user_id": USER_ID,
                "body": "changed",
            },
        )
    ],
)


@given(orders([UPDATED, ANNOUNCED]))
def test_a_change_of_user_id(bodies):
    """It is one event, in the user's conversation, whichever field tells it."""
    after = change("messages", messages=[written("wamid.N", type="text", text={"body": "hi"})])
    found = [each for each in told(_WHATSAPP, [TIED, *bodies, after]) if type(each) is Message]
    changes = [each for each in found if type(each.content) is System]
    assert [each.completes for each in changes].count(None) == any(bodies)
    assert {each.completes for each in changes[1:]} <= {changes[0].key if changes else None}
    assert len({each.conversation.id for each in found}) == 1


OVER_RCS: Final = {"senderPhoneNumber": f"+{USER}", "agentId": "shop_agent@rbm.goog"}
TAP: Final = {
    **OVER_RCS,
    "messageId": "u-1",
    "sendTime": "2026-05-28T20:26:41Z",
    "suggestionResponse": {"postbackData": "P", "text": "Yes", "trackdata": {"msgId": "o-1"}},
}
TAPPED: Final = created(
    2606, "u-1", auth_id=30060, type=110, custom_type=11010, content={"data": {"text": "Yes"}}
)


WRAPPED_TAP: Final = {"event": "new_message", "channel_id": 30060, "message": TAP}


@given(orders([TAP, WRAPPED_TAP, TAPPED]))
def test_a_tap_over_rcs(bodies):
    """It is one message, with what only one of its callbacks tells as soon as that has come."""
    found = [each for each in told(_INCS, bodies) if isinstance(each, Message)]
    assert [each.completes for each in found[:1]] == [None] * any(bodies)
    assert {each.completes for each in found[1:]} <= {found[0].key if found else None}
    assert {each.conversation.id for each in found} <= {f"rcs:30060:+{USER}"}
    for last in found[-1:]:
        is_well_told = any(body not in (None, TAPPED) for body in bodies)
        assert isinstance(last.content, Choice)
        assert (last.content.id, last.content.title) == ("P" if is_well_told else None, "Yes")
        assert last.reply_to == (ReplyTo(message_id="o-1") if is_well_told else None)
        assert last.aliases == (("2606",) if TAPPED in bodies else ())


SENT: Final = created(2607, "o-1", auth_id=30060, sender="incs_1", receiver=USER, channel_status=1)
NOT_SENT_YET: Final = created(2607, "", auth_id=30060, sender="incs_1", receiver=USER)
READ: Final = {**OVER_RCS, "eventType": "READ", "eventId": "e-1", "messageId": "o-1"}
REPORTS: Final = {
    Status.SENT: [status_of_incs("message_status_updated", 2607, "sent")],
    Status.DELIVERED: [
        {"event": "message_status_update", "message_id": "o-1", "message_status": "delivered"},
        status_of_incs("message_status_updated", 2607, "delivered"),
    ],
    Status.READ: [
        READ,
        {"event": "new_message", "business_phone": "", "message": READ},
        status_of_incs("message_status_updated", 2607, "read"),
    ],
}


@given(orders([NOT_SENT_YET, *(body for reports in REPORTS.values() for body in reports)]))
def test_the_statuses_of_a_message_over_rcs(bodies):
    """Each is told in one conversation, and all of them of one message once it has its id."""
    found = told(_INCS, [*bodies, SENT])
    changes = [each for each in found if isinstance(each, StatusChange)]
    expected = {status for status, reports in REPORTS.items() for body in reports if body in bodies}
    assert {each.status for each in changes} == expected | {Status.SENT}
    assert {each.channel for each in changes if each.message_id == "o-1"} <= {"rcs"}
    names = [(each.message_id, each.status) for each in changes]
    assert len(names) == len(set(names))
    sent = [each for each in found if isinstance(each, Message)]
    assert [each.completes for each in sent] == [None, *[sent[0].key] * (len(sent) - 1)]
    places = {each.conversation for each in (*sent, *changes) if each.conversation is not None}
    assert {each.id for each in places} == {f"rcs:30060:+{USER}"}
    assert told(_INCS, [*bodies, SENT, *bodies, SENT])[len(found) :] == []
