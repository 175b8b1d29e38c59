"""What holds for every inner object that Google, or anybody, could send."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from bridge.adapter import Callback
from bridge.adapter.signing import Secret
from bridge.adapters.rcs import Rcs, RcsSettings
from bridge.errors import NotAuthentic
from tests.adapters import cases, laws

RCS = Rcs("rcs", RcsSettings(client_tokens=(Secret("token"),)))
REAL = [orjson.loads(case.request) for case in cases.load("rcs")]
items = laws.disturbed(REAL) | st.dictionaries(st.text(max_size=8), laws.json_values)


@given(
    st.binary() | laws.json_values.map(laws.payload),
    st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=255)), max_size=2),
)
def test_nothing_unsigned_gets_in(body, signatures):
    """Whatever comes with whatever header, the answer is a refusal and no other error."""
    headers = [("X-Goog-Signature", value) for value in signatures]
    try:
        RCS.verify(Callback(body=body, received_at=cases.RECEIVED_AT, headers=headers))
    except NotAuthentic:
        return
    raise AssertionError("let in")


@given(items, st.text(max_size=5))
def test_any_object_can_be_made_fresh(item, nonce):
    """Making an object fresh returns for any object, the same one for the same nonce."""
    fresh = RCS.freshen(item, nonce, cases.RECEIVED_AT)

    assert fresh == RCS.freshen(item, nonce, cases.RECEIVED_AT)
