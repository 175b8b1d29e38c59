"""One message's callbacks in any order, as both INCS families tell of it."""

from __future__ import annotations

from hypothesis import strategies as st

from bridge.model import Event, Status
from tests.bridge.events import created, numbered_status, status

WAMID = "wamid.1"
NUMBER = "9001"

STATUSES = st.lists(
    st.sampled_from([each for each in Status if each is not Status.UNKNOWN]),
    min_size=1,
    max_size=6,
    unique=True,
)


@st.composite
def callbacks(draw: st.DrawFn, *, tied_first: bool) -> list[Event]:
    """Return one message's callbacks of both INCS families, repeated and shuffled."""
    told: list[Event] = []
    for each in draw(STATUSES):
        families = draw(st.sampled_from(("channel", "number", "both")))
        if families != "number":
            told.append(status(each, WAMID))
        if families != "channel":
            told.append(numbered_status(each, NUMBER))
    told += draw(st.lists(st.sampled_from(told), max_size=8))
    tie = created(NUMBER, WAMID)
    if tied_first:
        return [tie, *draw(st.permutations([*told, tie]))]
    return draw(st.permutations([*told, tie]))
