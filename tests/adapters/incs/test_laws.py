"""What holds for every body that INCS, or anybody, could send."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters.incs import Channel, Incs, IncsSettings
from tests.adapters import cases, laws

INCS = Incs(
    "incs",
    IncsSettings(
        insecure=True,
        channels=(Channel(id=30058, kind="whatsapp", business_phone="6281519236680"),),
    ),
)
REAL = [orjson.loads(case.request) for case in cases.load("incs")]
bodies = laws.disturbed(REAL) | st.dictionaries(st.text(max_size=8), laws.json_values)


@given(bodies, st.text(max_size=5))
def test_any_object_can_be_made_fresh(body, nonce):
    """Making a body fresh returns for any object, the same one for the same nonce."""
    fresh = INCS.freshen(body, nonce, cases.RECEIVED_AT)

    assert fresh == INCS.freshen(body, nonce, cases.RECEIVED_AT)
    assert fresh.keys() == body.keys()
