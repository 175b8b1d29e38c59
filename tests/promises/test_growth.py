"""Promise 6: what a body adds to the journal is bounded by the body.

A law over the three adapters, in SQLite's real file: growth is at most 8 times the body and a
constant, whatever up to 1 MiB the body is made of.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import attrs
import pytest
from aiohttp import ClientSession
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bridge.journal.memory import MemoryJournal
from bridge.journal.query import Query
from bridge.journal.sqlite.journal import SqliteJournal
from bridge.model import Unrecognized
from bridge.runtime import Bridge
from tests.bridge.providers import authentic, real_bridge
from tests.bridge.serving import serving

TIMES = 8
CONSTANT = 3 << 19  # 1.5 MiB, the file of an empty journal in it
LARGEST = 1_000_000
TEXT = {"type": "text", "text": {"body": "x"}}

# What an array may be full of: {} stands for a number that makes each element another.
CRUMBS = [
    "0",
    "{{}}",
    "[[[[]]]]",
    '{{"a":{}}}',
    '{{"id":"{}"}}',
    '{{"id":"{}","status":"x"}}',
    '{{"id":"{}","status":"read","recipient_id":"16505550123"}}',
    '{{"id":"{}","from":"16505550123"}}',
    '{{"id":"{}","from":"16505550123","type":"text","text":{{"body":"x"}}}}',
    '{{"field":"messages","value":{{"statuses":[{}]}}}}',
    '{{"changes":[{}]}}',
    '{{"messages":[{{"id":"{}"}}]}}',
    '{{"wa_id":"{}"}}',
    "1e15",
]
PLACES = ["messages", "statuses", "message_echoes", "history", "standby", "contacts", "x", "errors"]


def array(crumb: str, size: int) -> str:
    each = len(crumb.format(10_000)) + 1
    return f"[{','.join(crumb.format(n) for n in range(max(1, size // each)))}]"


@attrs.frozen
class Shape:
    """How a body is made: its room goes to one full array and to what all of it shares."""

    size: int
    crumb: str
    place: str
    share: int
    number: str
    at: str
    event: str
    item: str

    def body(self, adapter: str) -> bytes:
        size = self.size * 3 // 4 if adapter == "rcs" else self.size  # it is sent as base64
        shared = "n" * (size // self.share)
        items = array(self.crumb, size - 3 * len(shared) - 500)
        card = f'{{"wa_id":"16505550123","profile":{{"name":"{shared}"}}}}'
        number = "1" if self.number == "short" else shared
        value = (
            f'"messaging_product":"whatsapp","metadata":{{"phone_number_id":"{number}"}},'
            f'"contacts":[{card}],"{self.place}":{items}'
        )
        if adapter == "whatsapp":
            change = f'{{"field":"messages","value":{{{value}}}}}'
            changes = items if self.at == "changes" else f"[{change}]"
            entry = items if self.at == "entry" else f'[{{"id":"{shared}","changes":{changes}}}]'
            text = f'{{"object":"whatsapp_business_account","entry":{entry}}}'
        elif adapter == "incs":
            told = f'{{{value},"id":"{shared}"}}'
            text = f'{{"event":"{self.event}","channel_id":7,"message":{told}}}'
        else:
            user = f'"senderPhoneNumber":"+16505550123","messageId":"{shared}"'
            text = f'{{{user},{self.item},"x":{items}}}'
        json.loads(text)
        return text.encode()


shapes = st.builds(
    Shape,
    size=st.sampled_from([1_000, 30_000, 300_000, LARGEST]),
    crumb=st.sampled_from(CRUMBS),
    place=st.sampled_from(PLACES),
    share=st.sampled_from([4, 100, LARGEST]),
    number=st.sampled_from(["short", "shared"]),
    at=st.sampled_from(["value", "changes", "entry"]),
    event=st.sampled_from(["new_message", "message_created", "message_status_updated"]),
    item=st.sampled_from(['"eventType":"NEW"', '"text":"a"', '"userFile":{}']),
)


def taken_up(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def with_journal(journal) -> Bridge:
    model = real_bridge()
    made = Bridge(journal=journal, server=model.server)
    for name, adapter in model.intake.adapters.items():
        made.add_adapter(name, adapter)
    return made


@pytest.mark.parametrize("adapter", ["whatsapp", "rcs", "incs"])
@settings(deadline=None, max_examples=6, suppress_health_check=list(HealthCheck))
@given(shape=shapes)
@example(shape=Shape(LARGEST, "0", "messages", 4, "shared", "value", "new_message", '"text":"a"'))
@example(shape=Shape(LARGEST, CRUMBS[5], "statuses", 4, "short", "value", "new_message", '"x":1'))
@example(shape=Shape(LARGEST, CRUMBS[8], "messages", 4, "short", "value", "new_message", '"x":1'))
async def test_a_body_adds_at_most_eight_times_its_size(adapter, shape):
    """The files of a journal grow by at most 8 times a body and a constant."""
    body = shape.body(adapter)
    with tempfile.TemporaryDirectory() as folder:
        made = with_journal(SqliteJournal(Path(folder) / "journal.db"))
        async with serving(made) as url, ClientSession(url) as client:
            path, headers, sent = authentic(adapter, body)
            async with client.post(path, headers=headers, data=sent) as response:
                assert response.status == 200
            assert await made.journal.search(Query(limit=1))
        assert taken_up(Path(folder)) <= TIMES * len(body) + CONSTANT


async def test_what_is_kept_whole_can_be_read_again():
    """A body of many unreadable items is kept once, and gives each item to a repaired adapter."""
    body = json.dumps(
        {
            "object": "whatsapp_business_account",
            "entry": [
                {
                    "id": "1",
                    "changes": [
                        {
                            "field": "messages",
                            "value": {
                                "metadata": {"phone_number_id": "1", "x": "n" * 20_000},
                                "messages": [{"broken": number} for number in range(500)]
                                + [{"id": "m", "from": "16505550123", **TEXT}],
                            },
                        }
                    ],
                }
            ],
        }
    ).encode()
    made = with_journal(MemoryJournal())
    async with serving(made) as url, ClientSession(url) as client:
        path, headers, sent = authentic("whatsapp", body)
        async with client.post(path, headers=headers, data=sent) as response:
            assert response.status == 200
        kept = [entry.event for entry in await made.journal.search(Query(limit=1000))]
        unread = [event for event in kept if isinstance(event, Unrecognized)]
        messages = [event.key for event in kept if event.kind == "message"]
        assert messages == ["whatsapp/message/whatsapp/m"]
        whole = unread[-1]
        assert whole.raw == json.loads(body)
        done = await made.operators.reparse([event.key for event in unread])
        assert all(found is not None for found in done.values())
        assert not done[whole.key].is_whole
        assert len(await made.journal.search(Query(limit=1000))) == len(kept)
