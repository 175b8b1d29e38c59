"""`--set path=value` reaches any place of a body, and says where it cannot."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.cli.changes import Change, changed, near
from bridge.cli.terminal import UsageError
from tests.bridge.strategies import json_values


def after(body: Any, *texts: str) -> Any:
    return changed(body, [Change.parse(text) for text in texts])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=1", {"a": 1, "b": [{"c": "d"}]}),
        ("a=hello", {"a": "hello", "b": [{"c": "d"}]}),
        ('a="5"', {"a": "5", "b": [{"c": "d"}]}),
        ("a=", {"a": "", "b": [{"c": "d"}]}),
        ("a=x=y", {"a": "x=y", "b": [{"c": "d"}]}),
        ("a=null", {"a": None, "b": [{"c": "d"}]}),
        ("b[0].c=e", {"a": 0, "b": [{"c": "e"}]}),
        ("b[-1].c=e", {"a": 0, "b": [{"c": "e"}]}),
        ("b[1]=[2]", {"a": 0, "b": [{"c": "d"}, [2]]}),
        ("b[0]=2", {"a": 0, "b": [2]}),
        ("n.m=1", {"a": 0, "b": [{"c": "d"}], "n": {"m": 1}}),
        ("n[0]=1", {"a": 0, "b": [{"c": "d"}], "n": [1]}),
        ('b[0]["hub.mode"]=1', {"a": 0, "b": [{"c": "d", "hub.mode": 1}]}),
    ],
)
def test_a_change_reaches_its_place(text, expected):
    """Names and indexes lead there, missing objects are made, and JSON is read as such."""
    body = {"a": 0, "b": [{"c": "d"}]}
    assert after(body, text) == expected
    assert body == {"a": 0, "b": [{"c": "d"}]}


def test_changes_come_one_after_the_other():
    """A later change sees what an earlier one did."""
    assert after({}, "a.b=1", "a.c=2", "a.b=3") == {"a": {"b": 3, "c": 2}}


@pytest.mark.parametrize("text", ["", "a", "=1", "a[=1", "a..b=1", "[x]=1", "a b"])
def test_what_is_no_change_is_a_wrong_call(text):
    """Without a path, or without a value, it is told what would do."""
    with pytest.raises(UsageError, match="expected path=value"):
        Change.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("b[2]=1", r"--set b\[2\]: \[2\] is beyond the end of its array"),
        ("b[5].c=1", r"--set b\[5\].c: \[5\] is beyond the end of its array"),
        ("a.b=1", "--set a.b: no object: b"),
        ("a.b.c=1", "--set a.b.c: no object: b"),
        ("a[0]=1", r"--set a\[0\]: there is no array for \[0\]"),
        ("b.c=1", "--set b.c: no object: c"),
    ],
)
def test_a_path_that_leads_nowhere_says_where_it_ends(text, message):
    """What is neither object nor array cannot be gone through, and an array has no gaps."""
    with pytest.raises(UsageError, match=message):
        after({"a": 0, "b": [1, 2, 3][:1]}, text)


@given(value=json_values, body=st.dictionaries(st.text("abc", min_size=1), json_values))
def test_a_change_touches_nothing_else(value, body):
    """Whatever the body, a new name is added and everything else stays."""
    before = copy.deepcopy(body)
    change = Change(path="new", steps=("new",), value=value)
    assert changed(body, [change]) == {**before, "new": value}
    assert body == before


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("entry[0].chnges", ["entry[0].changes"]),
        ("entry[0].text", ["entry[0].changes[0].text"]),
        ("texts", ["entry[0].changes[0].text"]),
        ('["hub.mod"]', ['["hub.mode"]']),
        ("zzz", []),
    ],
)
def test_near_places(place, expected):
    """Those that are spelt alike, or end in the same name, as they are written for --set."""
    body = {"entry": [{"changes": [{"text": 1}]}], "hub.mode": 2}
    assert near(place, body)[: len(expected) or None] == expected


@given(value=json_values)
def test_every_place_that_is_near_is_there(value):
    """Each place that is listed can be changed, and is not new."""
    body = {"a": value, "b.c": [value, {"a": value}]}
    for place in near("a", body):
        assert not Change.parse(f"{place}=1").is_new_in(body)
