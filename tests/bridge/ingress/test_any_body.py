"""Whatever an authentic body holds, the server acknowledges it and loses none of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import chain

import pytest
from aiohttp import ClientSession
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.adapter import Verified
from bridge.adapters.incs import Incs
from bridge.adapters.rcs import Rcs
from bridge.adapters.whatsapp import WhatsApp
from bridge.model import Event
from tests.adapters import cases
from tests.adapters.laws import disturbed, json_values
from tests.bridge.providers import INNER, authentic, real_bridge
from tests.bridge.serving import serving

NOW = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
async def at_the_door():
    """Serve the three adapters, and give a function that posts an authentic body to one."""
    made = real_bridge()
    async with serving(made) as url, ClientSession(url) as client:

        async def send(adapter: str, body: bytes) -> tuple[int, list[Event]]:
            before = len(made.journal.kept)
            path, headers, sent = authentic(adapter, body)
            async with client.post(path, headers=headers, data=sent) as response:
                await response.read()
                return response.status, made.journal.kept[before:]

        yield send


def real_bodies(adapter: str) -> list:
    return [json.loads(case.request) for case in cases.load(adapter)]


any_body = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ADAPTERS = {"whatsapp": WhatsApp, "rcs": Rcs, "incs": Incs}


def holds_objects(value):
    """Return whether JSON is a callback, or an array of nothing else."""
    several = value if isinstance(value, list) else [value]
    return bool(several) and all(isinstance(each, dict) for each in several)


@pytest.mark.parametrize("adapter", ADAPTERS)
class TestAnyBody:
    """For any body that is authentic, all three adapters, over the real server."""

    @any_body
    @given(data=st.data())
    async def test_an_object_is_acknowledged_and_all_of_it_is_kept(
        self, adapter, at_the_door, data
    ):
        """Any JSON object gets 200, and exactly the events that its adapter reads in it."""
        objects = st.dictionaries(st.text(max_size=8), json_values)
        body = json.dumps(data.draw(disturbed(real_bodies(adapter)) | objects)).encode()
        status, kept = await at_the_door(adapter, body)
        reader = ADAPTERS[adapter](adapter, ADAPTERS[adapter].Settings(insecure=True))
        at = kept[0].received_at if kept else NOW
        expected = reader.parse(Verified(payload=body, received_at=at)).events
        assert status == 200
        assert [event.key for event in kept] == [f"{adapter}/{each.key}" for each in expected]

    @any_body
    @given(data=st.data())
    async def test_what_is_no_object_is_refused(self, adapter, at_the_door, data):
        """Any other JSON gets 400 and leaves nothing behind, but is kept where 400 blocks a queue.

        Google repeats what is not acknowledged for days, and sends nothing else meanwhile.
        """
        value = data.draw(json_values.filter(lambda value: not holds_objects(value)))
        status, kept = await at_the_door(adapter, json.dumps(value).encode())
        kinds = [event.kind for event in kept]
        assert (status, kinds) == ((200, ["unrecognized"]) if adapter == "rcs" else (400, []))

    @any_body
    @given(body=st.binary(max_size=60))
    async def test_any_bytes_are_answered(self, adapter, at_the_door, body):
        """Any bytes at all get 200 or 400, and 400 leaves nothing behind."""
        status, kept = await at_the_door(adapter, body)
        assert status == 200 or (status, kept) == (400, [])


@any_body
@given(items=st.lists(disturbed([json.loads(INNER)]), min_size=1, max_size=3))
async def test_every_inner_object_is_accounted_for(at_the_door, items):
    """Each signed object of RCS is acknowledged by exactly 200 and kept as one event."""
    answers = [await at_the_door("rcs", json.dumps(item).encode()) for item in items]
    assert [status for status, _ in answers] == [200] * len(items)
    assert len(list(chain.from_iterable(kept for _, kept in answers))) == len(items)
