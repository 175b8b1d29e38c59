"""TOML with places."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import ConfigurationError
from bridge.settings import toml

LAYOUTS = """\
# a comment with [brackets] and key = "value"
title = "one # two"  # three
a.b.c = 1
a . "d.e" . 'f"g' = 2

[server]   # the header
host = '''
[not]
a = "header"
'''
port = 5

[[channels]]
id = 1

[[channels]]
id = 2
tags = [  # items follow
    "x]",
    'y', ["z",
        { deep = 1, deeper.still = 2 }],
]

[channels.owner]
name = \"\"\"Jo \\\""" Doe""\"\"\"

[[channels.numbers]]
phone = 7
[[channels.numbers]]
phone = 8

["quoted.table".'x']
"k\\u00e9y" = 1979-05-27 07:32:00 # a time with a space
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("title",), 2),
        (("a",), 3),
        (("a", "b", "c"), 3),
        (("a", "d.e", 'f"g'), 4),
        (("server",), 6),
        (("server", "host"), 7),
        (("server", "port"), 11),
        (("channels",), 13),
        (("channels", 0), 13),
        (("channels", 0, "id"), 14),
        (("channels", 1), 16),
        (("channels", 1, "tags", 0), 19),
        (("channels", 1, "tags", 1), 20),
        (("channels", 1, "tags", 2), 20),
        (("channels", 1, "tags", 2, 1, "deep"), 21),
        (("channels", 1, "tags", 2, 1, "deeper", "still"), 21),
        (("channels", 1, "owner"), 24),
        (("channels", 1, "owner", "name"), 25),
        (("channels", 1, "numbers", 1), 29),
        (("channels", 1, "numbers", 1, "phone"), 30),
        (("quoted.table", "x"), 32),
        (("quoted.table", "x", "kéy"), 33),
    ],
)
def test_each_layout_has_its_place(path, line):
    """A key is found on its line, however TOML allows it to be written."""
    assert toml.parse(LAYOUTS).line(toml.dotted(path)) == line


def test_missing_key_stands_at_header():
    """A key that is not there is looked for at the header of its table."""
    document = toml.parse("a = 1\n\n[server]\nport = 1\n")
    assert document.line("server.host") == 3
    assert document.line("server.tls.cert") == 3
    assert document.line("nothing") is None


def test_header_is_the_place_of_a_table_named_earlier():
    """A table that a deeper header mentions first is placed at its own header."""
    document = toml.parse("[a.b]\nx = 1\n\n[a]\ny = 2\n")
    assert document.line("a") == 4
    assert document.line("a.b") == 1


def test_windows_line_ends_count_once():
    """A document with CR LF has the same lines."""
    document = toml.parse("a = 1\r\n# c\r\nb = [\r\n 1,\r\n 2]\r\n")
    assert [document.line(key) for key in ("a", "b", "b[0]", "b[1]")] == [1, 3, 4, 5]


@pytest.mark.parametrize("text", ["a = 1", "a = {}\n# end", "a = [1]#", "a = [[1] # [\n]"])
def test_document_may_end_anywhere(text):
    """Neither a comment nor a value needs a line end after it."""
    assert toml.parse(text).line("a") == 1


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1\nb = \n", 2),
        ("a = 1\n\nhost = localhost\n", 3),
        ("[a]\nx = 1\n[a]\n", 3),
        ("a = 1\na = 2\n", 2),
        ("a = 1\nb = [1,\n2\n", 4),
    ],
)
def test_syntax_error_has_a_line(text, line):
    """What is not TOML is told with file and line, and without the text around it."""
    with pytest.raises(ConfigurationError) as caught:
        toml.parse(text, "config.toml")
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == ("config.toml", line)
    assert problem.message.startswith("not valid TOML: ")
    assert "localhost" not in str(caught.value)


def test_endless_nesting_is_refused():
    """A document that nests beyond reason is a problem, not a crash."""
    with pytest.raises(ConfigurationError, match="values nest too deeply"):
        toml.parse("a = " + "[" * 100_000 + "]" * 100_000)


def test_endless_number_is_refused():
    """A number with thousands of digits is a problem, not a crash."""
    with pytest.raises(ConfigurationError, match="not valid TOML: ") as caught:
        toml.parse(f"a = {'1' * 5000}", "config.toml")
    assert caught.value.problems[0].line is None


def test_written_keys_have_their_places():
    """A key is also found as it is written, or the innermost table around it."""
    document = toml.parse("[adapters.incs]\n[[adapters.incs.channels]]\nid = 1\n'a.b' = 2\n")
    assert document.line("adapters.incs.channels[0].id") == 3
    assert document.line('adapters.incs.channels[0]."a.b"') == 4
    assert document.line("adapters.incs.channels[0].phone") == 2
    assert document.line("adapters.incs.channels[7].id") == 2
    assert document.line("adapters.incs.tokens") == 1
    assert document.line("other") is None
    assert document.line("") is None


def test_dotted_keys_are_written_as_toml_does():
    """A path is shown as it would be written, with quotes where a key needs them."""
    assert toml.dotted(("adapters", "incs", "channels", 1, "kind")) == (
        "adapters.incs.channels[1].kind"
    )
    assert toml.dotted(("a b", 'q"\\')) == '"a b"."q\\"\\\\"'
    assert toml.dotted(()) == ""


# --- a law: every value is found where it stands -----------------------------------------
#
# A document is composed so that each scalar's value says on which line it was written.

KEYS = st.sampled_from(["a", "b-c", '"d.e"', "'f#g'", '"[h]"', '"i\\"j"', "x . y", '"" . k'])
NOISE = st.sampled_from(["", "# [x]", '  # "', "\t# '''", "# a = 1"])


class Page:
    def __init__(self):
        self.text = ""

    @property
    def line(self):
        return self.text.count("\n") + 1

    def write(self, text):
        self.text += text


def write_value(draw, page, depth):
    style = draw(st.integers(0, 5 if depth else 3))
    if style == 0:
        page.write(str(page.line))
    elif style == 1:
        page.write(f'"{page.line}|]}}#\\" = \'"')
    elif style == 2:
        page.write(f'"""{page.line}|\n[x]\na = 1 \\"""\n#""{"" if draw(st.booleans()) else " "}"""')
    elif style == 3:
        page.write(f"'''{page.line}|\n[[x]]\n}}]\"\"\" '' '''")
    elif style == 4:
        page.write("[")
        for _ in range(draw(st.integers(0, 3))):
            page.write(draw(NOISE) + "\n" if draw(st.booleans()) else " ")
            write_value(draw, page, depth - 1)
            page.write(draw(st.sampled_from([",", " , ", ",\n"])))
        page.write("]")
    else:
        page.write("{ ")
        keys = draw(st.lists(KEYS, max_size=3, unique=True))
        for number, key in enumerate(keys):
            page.write(", " * (number > 0) + key + " = ")
            write_value(draw, page, depth - 1)
        page.write("}")


@st.composite
def documents(draw):
    page = Page()
    names = (f"t{number}" for number in itertools.count())
    for _ in range(draw(st.integers(0, 4))):
        for key in draw(st.lists(KEYS, max_size=4, unique=True)):
            page.write((draw(NOISE) + "\n") * draw(st.integers(0, 2)))
            page.write(f"{key} = ")
            write_value(draw, page, 2)
            page.write(" " + draw(NOISE) + "\n")
        table = next(names)
        if draw(st.booleans()):
            page.write(f"[[{table}]]\n" * draw(st.integers(1, 2)) + f"[[ {table} . 'in.ner' ]]\n")
        else:
            page.write(draw(st.sampled_from(["[{}]", " [ {} . deep ] "])).format(table) + "\n")
    return page.text


def scalars(value: Any, path: toml.Path = ()):
    if isinstance(value, dict):
        for key, below in value.items():
            yield from scalars(below, (*path, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from scalars(below, (*path, index))
    else:
        yield path, int(str(value).partition("|")[0])


@given(documents())
def test_every_value_is_found_on_its_line(text):
    """Whatever the layout, each value is placed on the line it was written on."""
    document = toml.parse(text)
    for path, line in scalars(document.value):
        assert document.line(toml.dotted(path)) == line
