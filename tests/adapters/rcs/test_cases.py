"""Every kind of object that Google documents, and what may be missing from it."""

from __future__ import annotations

import pytest

from bridge.adapter import Verified
from bridge.adapters.rcs import Rcs, RcsSettings
from bridge.model import codec
from tests.adapters import cases

CASES = cases.load("rcs")


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_events_of_an_inner_object(case):
    """An inner object gives exactly the events that Google's reference implies."""
    rcs = Rcs("rcs", RcsSettings(insecure=True))

    parsed = rcs.parse(Verified(payload=case.request, received_at=cases.RECEIVED_AT))

    assert [codec.to_dict(event) for event in parsed.events] == case.expected()
