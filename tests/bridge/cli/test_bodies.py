"""Files of several bodies come apart into exactly those bodies."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.cli.bodies import bodies


def split(content):
    return [(body.content, body.line, body.column) for body in bodies(content)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"a": 1}', [(b'{"a": 1}', 1, 1)]),
        (b'{"a": 1}\n{"b": 2}\n', [(b'{"a": 1}', 1, 1), (b'{"b": 2}', 2, 1)]),
        (b'{"a": 1} {"b": 2}', [(b'{"a": 1}', 1, 1), (b'{"b": 2}', 1, 10)]),
        (b'\n\n {\n"a": 1}\n  {"b": 2}', [(b'{\n"a": 1}', 3, 2), (b'{"b": 2}', 5, 3)]),
        (b'[{"a": 1},\n {"b": 2}]', [(b'{"a": 1}', 1, 2), (b'{"b": 2}', 2, 2)]),
        (b'[{"a": 1}]\n[{"b": 2}]\n', [(b'{"a": 1}', 1, 2), (b'{"b": 2}', 2, 2)]),
        (b"[]", []),
        (b"", [(b"", 1, 1)]),
        (b" \n ", [(b"", 2, 2)]),
        (b'\xef\xbb\xbf{"a": 1}', [(b'{"a": 1}', 1, 1)]),
        (
            b'{"a": 1.10, "b": 1' + b"0" * 5000 + b"}",
            [(b'{"a": 1.10, "b": 1' + b"0" * 5000 + b"}", 1, 1)],
        ),
        (b'{"a": "\xff"}', [(b'{"a": "\xff"}', 1, 1)]),
    ],
)
def test_each_body_is_found_as_it_is_written(content, expected):
    """One body, NDJSON, concatenated bodies and arrays give the bodies' own bytes and places."""
    assert split(content) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            b'{"a": 1}\n{"b": }\n{"c": 3}',
            [(b'{"a": 1}', 1, 1), (b'{"b": }\n', 2, 1), (b'{"c": 3}', 3, 1)],
        ),
        (b'{\n  "a": {\n    {}\n}\n', [(b'{\n  "a": {\n    {}\n}\n', 1, 1)]),
        (b'[{"a": 1},\n{"b": }]', [(b'{"a": 1}', 1, 2), (b'{"b": }]', 2, 1)]),
        (b'\n[\n{"a": 1}\n', [(b'{"a": 1}', 3, 1), (b'[\n{"a": 1}\n', 2, 1)]),
        (b"[" * 3, [(b"[[", 1, 2)]),
        (b"\n" + b'{"a":' * 2000, [(b'{"a":' * 2000, 2, 1)]),
    ],
)
def test_what_is_broken_stays_whole(content, expected):
    """A broken body reaches up to the next line with a brace, so that its neighbours arrive."""
    assert split(content) == expected


VALUES = st.none() | st.floats(allow_nan=False) | st.text(max_size=5)
OBJECTS = st.dictionaries(st.text(max_size=3), VALUES | st.lists(VALUES, max_size=2), max_size=3)
BLANK = st.sampled_from(["", " ", "\n", "\r\n", "\n\n\t"])


@given(
    st.lists(st.tuples(OBJECTS, BLANK), min_size=1, max_size=4),
    st.booleans(),
    st.none() | st.just(2),
)
def test_bodies_come_back_however_they_were_joined(written, is_array, indent):
    """Any objects, joined with blanks or as an array, are split into the same objects."""
    texts = [json.dumps(value, indent=indent) + blank for value, blank in written]
    text = f"[{','.join(texts)}]" if is_array else "".join(texts)
    found = list(bodies(text.encode()))
    assert [json.loads(body.content) for body in found] == [value for value, _ in written]
    lines = text.split("\n")
    assert all(lines[body.line - 1][body.column - 1] == "{" for body in found)
