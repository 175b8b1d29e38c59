"""What a cursor holds, as far as it is known in one process."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.journal.nats.holding import Holding, Record
from bridge.journal.protocol import Retry

SEQUENCES = st.integers(1, 6)
RETRIES = st.builds(Retry, due_at=st.floats(0, 9))
RECORDS = st.builds(Record, lane=st.sampled_from("ab"), retry=RETRIES)
CHANGES = st.lists(st.tuples(SEQUENCES, st.none() | RECORDS))  # None: let go of
STORED = st.dictionaries(SEQUENCES, RECORDS)


def change(holding: Holding, changes: list[tuple[int, Record | None]]) -> None:
    for sequence, record in changes:
        if record is None:
            holding.remove(sequence)
        else:
            holding.put(sequence, record)


@given(before=CHANGES, stored=STORED, meanwhile=CHANGES)
def test_what_is_settled_while_it_is_read_stays_settled(before, stored, meanwhile):
    """What was read replaces all that was known, except for what changed during the reading."""
    holding = Holding()
    change(holding, before)
    with holding.touched() as touched:
        change(holding, meanwhile)
        holding.replace(stored, but=touched)
    expected = {**stored, **dict(meanwhile)}
    held = {sequence: record for sequence, record in expected.items() if record is not None}
    found = {}
    for lane in "ab":
        found |= dict(holding.first(lane, 10))
        mine = [sequence for sequence, record in held.items() if record.lane == lane]
        assert [sequence for sequence, _ in holding.first(lane, 10)] == sorted(mine)
    assert found == held
