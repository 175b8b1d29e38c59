"""The errors: one tree, and texts that can be acted on."""

import inspect

import pytest

from bridge import errors
from bridge.errors import (
    BodyRefused,
    BridgeError,
    ConfigurationError,
    Fault,
    MalformedBody,
    MethodRefused,
    Problem,
    Unreadable,
)

CLASSES = [
    cls
    for cls in vars(errors).values()
    if inspect.isclass(cls) and issubclass(cls, Exception) and cls.__module__ == errors.__name__
]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_one_tree(cls):
    """Whoever catches `BridgeError` catches everything that bridge raises on purpose."""
    assert issubclass(cls, BridgeError)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_the_tree_is_drawn(cls):
    """The module's docstring draws every class."""
    assert cls.__name__ in errors.__doc__


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (
            Problem(key="incs.token", message="is empty", file="config.toml", line=3),
            "config.toml:3: incs.token: is empty",
        ),
        (
            Problem(key="incs.token", message="is empty", file="config.toml"),
            "config.toml: incs.token: is empty",
        ),
        (Problem(key="incs.token", message="is empty"), "incs.token: is empty"),
        (Problem(key="", message="is empty"), "is empty"),
    ],
)
def test_problem_says_what_is_known(problem, expected):
    """A problem names its place as far as it is known, in a form that editors jump to."""
    assert str(problem) == expected


def test_configuration_error_tells_all_problems_at_once():
    """Every problem has a line of its own."""
    problems = (Problem(key="a", message="is missing"), Problem(key="b", message="is unknown"))
    error = ConfigurationError(problems)
    assert error.problems == problems
    assert str(error) == "a: is missing\nb: is unknown"


def test_configuration_error_from_words():
    """A sentence makes a problem of its own."""
    error = ConfigurationError("no adapter is configured")
    assert error.problems == (Problem(key="", message="no adapter is configured"),)
    assert str(error) == "no adapter is configured"


def test_method_refused_names_what_is_allowed():
    """The edge learns which methods to offer, and a reader sees them in a stable order."""
    error = MethodRefused(frozenset({"POST", "GET"}))
    assert error.allowed == {"GET", "POST"}
    assert str(error) == "only GET, POST is understood here"


@pytest.mark.parametrize("fault", Fault)
def test_body_refused_says_why(fault):
    """A refused body tells its fault as a sentence."""
    assert BodyRefused(fault).fault is fault
    assert str(BodyRefused(fault)).startswith("the body ")


def test_malformed_body_says_where():
    """The text of a malformed body ends in its place."""
    error = MalformedBody("not JSON: Expecting value", line=2, column=7, offset=20)
    assert (error.reason, error.line, error.column, error.offset) == (
        "not JSON: Expecting value",
        2,
        7,
        20,
    )
    assert str(error) == "not JSON: Expecting value (line 2, column 7)"


@pytest.mark.parametrize(
    ("path", "prefix", "expected"),
    [
        ("text.body", "messages[2]", "messages[2].text.body"),
        ("[2].text", "messages", "messages[2].text"),
        ("", "messages", "messages"),
    ],
)
def test_unreadable_seen_from_further_out(path, prefix, expected):
    """A path grows to the left, with a dot only where a name follows."""
    outer = Unreadable(path, "is not a string").below(prefix)
    assert outer.path == expected
    assert outer.reason == "is not a string"
    assert str(outer) == f"{expected}: is not a string"


def test_unreadable_without_a_path():
    """A fault of the whole item is told without a path."""
    assert str(Unreadable("", "is not an object")) == "is not an object"
