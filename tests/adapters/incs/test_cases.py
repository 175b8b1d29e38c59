"""Every documented sample of INCS, every row of its tables, and every quirk seen in the wild."""

from __future__ import annotations

import orjson
import pytest

from bridge.adapter import Verified
from bridge.adapters.incs import Channel, Incs, IncsSettings
from bridge.model import codec
from tests.adapters import cases

CASES = cases.load("incs")


def adapter(case: cases.Case) -> Incs:
    channels = tuple(Channel(**channel) for channel in case.settings.get("channels", ()))
    return Incs("incs", IncsSettings(insecure=True, channels=channels))


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_events_of_a_callback(case):
    """A callback gives exactly the events that the documentation implies."""
    parsed = adapter(case).parse(Verified(payload=case.request, received_at=cases.RECEIVED_AT))

    assert [codec.to_dict(event) for event in parsed.events] == case.expected()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_an_unreadable_part_can_be_parsed_again(case):
    """What is kept of an unreadable part is a body that gives the same event once more."""
    incs = adapter(case)
    parsed = incs.parse(Verified(payload=case.request, received_at=cases.RECEIVED_AT))

    for event in parsed.events:
        if event.kind != "unrecognized":
            continue
        body = orjson.dumps(event.raw)
        again = incs.parse(Verified(payload=body, received_at=cases.RECEIVED_AT))
        assert event.key in [other.key for other in again.events]
