"""The page about sending says what the senders declare."""

from __future__ import annotations

import re

from bridge.adapter import Remedy
from tests.docs.sending_tables import PAGE, TABLES, generated


def test_the_tables_are_current():
    """What the page says of channels, codes and sources is what the program goes by.

    `python -m tests.docs.sending_tables` writes the tables anew.
    """
    page = PAGE.read_text("utf-8")
    assert [name for name in TABLES if f"<!-- {name} -->" not in page] == []
    assert generated(page) == page


def test_every_remedy_is_explained():
    """The page says what happens for each remedy there is."""
    told = set(re.findall(r"^- `([a-z_]+)`:", PAGE.read_text("utf-8"), re.MULTILINE))
    assert told == set(Remedy)
