"""Bodies for the laws: any JSON, and real requests with anything in any of their places."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=12)
    | st.sampled_from(
        ["", "0", "+628XXXXXXXXX", "6281519140327", "wamid.A", "{}", '"{}"', "X", "\ud800"]
    ),
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), children, max_size=4)
    ),
    max_leaves=12,
)


def payload(body: Any) -> bytes:
    """Write a body as JSON that may also hold what our own reader has to mend."""
    return json.dumps(body).encode()


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    places = [path] if path else []
    children: Any = ()
    if isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    for key, child in children:
        places += _places(child, (*path, key))
    return places


@st.composite
def disturbed(draw: st.DrawFn, bodies: list[Any]) -> Any:
    """Draw a real body, with one to three of its places replaced or removed."""
    body = copy.deepcopy(draw(st.sampled_from(bodies)))
    for _ in range(draw(st.integers(1, 3))):
        places = _places(body)
        if not places:
            break
        *way, last = draw(st.sampled_from(places))
        parent = body
        for key in way:
            parent = parent[key]
        if draw(st.booleans()):
            parent[last] = draw(json_values)
        else:
            del parent[last]
    return body
