"""References to the environment and to files."""

from __future__ import annotations

import os
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from bridge.errors import ConfigurationError
from bridge.settings.references import MAX_FILE_BYTES
from tests.bridge.settings.documents import Colour, acme, load, problems


def test_variables_are_filled_in():
    """A variable may stand anywhere in a string, have a default, and be escaped."""
    result = acme(
        """
        tokens = ["${A}", "pre-${A}-${B:-none}-post", "${B:-}x", "$${A}", "$A {A}", "${C:-d}"]
        colour = "${COLOUR}"
        """,
        A="one",
        C="",
        COLOUR="blue",
    )
    assert [token.reveal() for token in result.tokens] == [
        "one",
        "pre-one-none-post",
        "x",
        "${A}",
        "$A {A}",
        "d",
    ]
    assert result.colour is Colour.BLUE


def test_variables_may_hold_numbers_and_booleans():
    """The environment knows strings only, so a number in one is a number where one belongs."""
    result = acme(
        'ratio = "${R}"\nlow = "${L}"\ninsecure = "${I}"\ncode = "${L}"\npause = "${L}"\n'
        'names = ["${L}"]\nv4 = "${N}"\nhome = "${H}"',
        R="0.25",
        L="5",
        I="true",
        N="10.0.0.0/8",
        H="/srv",
    )
    assert (result.ratio, result.low, result.insecure, result.pause) == (0.25, 5, True, 5.0)
    assert result.names == ["5"]
    assert type(result.names[0]) is str
    assert (result.v4, result.home) == (IPv4Network("10.0.0.0/8"), Path("/srv"))
    assert not acme('insecure = "${I}"', I="false").insecure


def test_literal_strings_are_no_numbers():
    """Without a reference, a number in quotes is a mistake."""
    ((_, _, message),) = problems('[server]\nport = "80"')
    assert message == 'expected an integer, found string "80"'


def test_files_are_read(tmp_path):
    """A reference to a file gives its content, without the last line end."""
    (tmp_path / "token").write_text("from a file\n")
    (tmp_path / "windows").write_bytes(b"two\nlines\r\n")
    (tmp_path / "variable").write_text("${A}")
    config = tmp_path / "config.toml"
    config.write_text(
        '[adapters.acme]\ntokens = ["file:token", "file:${D}/windows", "file:variable", "${F}"]\n'
    )
    result = load(config, environ={"D": str(tmp_path), "F": "file:token"})
    tokens = result.adapters["acme"].settings.tokens
    assert [token.reveal() for token in tokens] == [
        "from a file",
        "two\nlines",
        "${A}",
        "file:token",
    ]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "No such file or directory"),
        (".", "not a regular file"),
        ("pipe", "not a regular file"),
        ("large", f"larger than {MAX_FILE_BYTES} bytes"),
        ("binary", "not text in UTF-8"),
        ("loop", "Too many levels of symbolic links"),
        ("x" * 300, "File name too long"),
    ],
)
def test_unreadable_file(tmp_path, name, reason):
    """What is not a readable small text file is a problem of its key."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * (MAX_FILE_BYTES + 1))
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "loop").symlink_to("loop")
    config = tmp_path / "config.toml"
    config.write_text(f'[adapters.acme]\ntokens = ["file:{name}"]\n')
    with pytest.raises(ConfigurationError) as caught:
        load(config, environ={})
    (problem,) = caught.value.problems
    assert (problem.key, problem.line) == ("adapters.acme.tokens[0]", 2)
    assert problem.message == f"file:{tmp_path / name} cannot be read: {reason}"


@pytest.mark.parametrize("written", ["${", "${}", "${1}", "a ${A b}", "${A:-${B}}", "${A:b}"])
def test_malformed_reference(written):
    """A reference that is none is told, not left in place."""
    assert problems(f"[server]\nhost = '{written}'", A="a") == [
        (
            2,
            "server.host",
            "a reference is written ${NAME} or ${NAME:-default}, and a plain ${ as $${",
        )
    ]


def test_unset_variable():
    """An unset variable is one problem, whatever would be wrong without its value."""
    assert problems(
        """\
        log = "${LOG}"
        [server]
        port = "${PORT}"
        [adapters.acme]
        tokens = ["a", "${T}"]
        type = "${TYPE}"
        """
    ) == [
        (1, "log", "the environment variable LOG is not set"),
        (3, "server.port", "the environment variable PORT is not set"),
        (5, "adapters.acme.tokens[1]", "the environment variable T is not set"),
        (6, "adapters.acme.type", "the environment variable TYPE is not set"),
    ]


def test_what_came_from_outside_is_not_shown():
    """A value of the environment may be a secret in the wrong place, so it is not quoted."""
    told = problems(
        """
        [server]
        port = "${A}"
        prefix = "${A}"
        trusted_proxies = ["${A}", "${N}"]
        [log]
        level = "${A}"
        [adapters.acme]
        greeting = "${A}"
        low = "${A}"
        insecure = "${A}"
        [adapters.shop]
        type = "${A}"
        """,
        A="hush-hush-hush",
        N="10.9.8.7/8",
    )
    assert [key for _, key, _ in told] == [
        "server.port",
        "server.prefix",
        "server.trusted_proxies[0]",
        "server.trusted_proxies[1]",
        "log.level",
        "adapters.acme.greeting",
        "adapters.acme.low",
        "adapters.acme.insecure",
        "adapters.shop.type",
    ]
    assert "hush" not in str(told)
    assert "10.9" not in str(told)
    assert told[0][2] == "expected an integer, found a string from elsewhere that is not shown"
