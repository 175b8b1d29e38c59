"""From plain values to attrs classes: every type, and every misfit."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import attrs
import pytest

from bridge.adapter.signing import Secret
from bridge.errors import ConfigurationError, Problem
from tests.bridge.settings.documents import Acme, Channel, Colour, acme, load, loads, problems, read


@attrs.frozen
class Password:
    user: str
    password: Secret


@attrs.frozen
class Key:
    user: str
    file: Path = Path("key.pem")


@attrs.frozen
class Account:
    login: Password | Key | None = None
    home: Path = Path("home")
    roots: tuple[Path | int, ...] = ()


def account(text):
    return loads(f"[adapters.x]\n{text}", {"x": lambda: Account}).adapters["x"].settings


def test_every_type_of_an_adapters_settings():
    """A third party's settings class may use every type that the settings know."""
    result = acme(
        """
        colour = "blue"
        level = "high"
        ratio = 2
        insecure = true
        code = 7
        number = 2
        network = "2001:db8::/32"
        v4 = "10.0.0.0/8"
        pause = "500ms"
        chunk = "64KiB"
        labels = { a = 1, "b c" = 2 }
        names = ["x"]
        unique = [1, 2, 1]
        channels = [{ id = 1, kind = "rcs" }, { id = 2, kind = "whatsapp", phone = "+62" }]
        owner.id = 3
        owner.kind = "rcs"
        home = "/var"
        hidden = "y"
        shout = "loud"
        low = 3
        high = 4
        """
    )
    assert result == Acme(
        colour=Colour.BLUE,
        level="high",
        ratio=2.0,
        insecure=True,
        code=7,
        number=2,
        network=IPv6Network("2001:db8::/32"),
        v4=IPv4Network("10.0.0.0/8"),
        pause=0.5,
        chunk=65536,
        labels={"a": 1, "b c": 2},
        names=["x"],
        unique=frozenset({1, 2}),
        channels=(Channel(id=1, kind="rcs"), Channel(id=2, kind="whatsapp", phone="+62")),
        owner=Channel(id=3, kind="rcs"),
        home=Path("/var"),
        hidden="y",
        shout="LOUD",
        low=3,
        high=4,
    )
    assert type(result.ratio) is float
    assert type(result.number) is int
    assert acme('code = "seven"').code == "seven"


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("0", 0.0),
        ("2.5", 2.5),
        ('"30"', 30.0),
        ('"250ms"', 0.25),
        ('"30s"', 30.0),
        ('"1.5m"', 90.0),
        ('"12 h"', 43200.0),
        ('"8d"', 691200.0),
    ],
)
def test_durations(written, seconds):
    """A duration is a number of seconds, or has a unit."""
    assert acme(f"pause = {written}").pause == seconds


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("0", 0),
        ('"512"', 512),
        ('"10B"', 10),
        ('"2kB"', 2000),
        ('"3MB"', 3000000),
        ('"1.5KiB"', 1536),
        ('"4 MiB"', 4194304),
        ('"1GiB"', 1073741824),
    ],
)
def test_sizes(written, size):
    """A size is a whole number of bytes, or has a unit."""
    assert acme(f"chunk = {written}").chunk == size


@pytest.mark.parametrize(
    "written",
    [
        '"soon"',
        '"5 parsecs"',
        '"-1s"',
        "-1",
        "inf",
        "nan",
        "true",
        '""',
        '"s"',
        '"1e3s"',
        '"1/2s"',
        '"٣s"',
        '"1.2.3s"',
        f'"{"9" * 31}s"',
        "[]",
    ],
)
def test_what_is_no_duration(written):
    """Anything else is refused as a duration, and what would do is said."""
    ((line, key, message),) = problems(f"[adapters.acme]\npause = {written}")
    assert (line, key) == (2, "adapters.acme.pause")
    assert message.startswith('expected a duration in seconds, or one such as "500ms", "30s"')


@pytest.mark.parametrize("written", ["1.5", '"0.3B"', '"5Mib"', '"1m"', "-1"])
def test_what_is_no_size(written):
    """A size is whole and has a unit of sizes."""
    ((_, key, message),) = problems(f"[adapters.acme]\nchunk = {written}")
    assert key == "adapters.acme.chunk"
    assert message.startswith('expected a size in bytes, or one such as "512kB", "64KiB"')


@pytest.mark.parametrize(
    ("text", "line", "key", "message"),
    [
        ("[adapters]\nacme = 1", 2, "adapters.acme", "expected a table, found integer 1"),
        (
            "[adapters.acme]\nallow_networks = ['10.0.0.1/8']",
            2,
            "adapters.acme.allow_networks[0]",
            (
                "expected a network without an address in it, "
                'found a string; did you mean "10.0.0.0/8"?'
            ),
        ),
        (
            "[adapters.acme]\nallow_networks = [10]",
            2,
            "adapters.acme.allow_networks[0]",
            (
                'expected an IPv4 network such as "10.0.0.0/8" or an IPv6 network such as '
                '"2001:db8::/32", found integer 10'
            ),
        ),
        (
            "[adapters.acme]\nv4 = '2001:db8::/32'",
            2,
            "adapters.acme.v4",
            'expected an IPv4 network such as "10.0.0.0/8", found a string',
        ),
        ("[adapters.x]\ntype = 1", 2, "adapters.x.type", "expected a string, found integer 1"),
        (
            "[adapters.acme]\nlabels = 1",
            2,
            "adapters.acme.labels",
            "expected a table, found integer 1",
        ),
        (
            "[adapters.acme.labels]\na = 1\nb = 'x'",
            3,
            "adapters.acme.labels.b",
            'expected an integer, found string "x"',
        ),
        (
            "[adapters.acme]\ncode = 1.5",
            2,
            "adapters.acme.code",
            "expected an integer or a string, found number 1.5",
        ),
        (
            "[adapters.acme]\nratio = 1" + "0" * 400,
            2,
            "adapters.acme.ratio",
            "an integer has at most 64 bits",
        ),
        (
            "[adapters.acme]\nowner = 1",
            2,
            "adapters.acme.owner",
            "expected a table, found integer 1",
        ),
        (
            "[adapters.acme]\nlevel = true",
            2,
            "adapters.acme.level",
            'expected one of 1, 2, "high", found boolean true',
        ),
        (
            "[adapters.acme]\n[adapters.acme.owner]\nkind = 'rcs'",
            2,
            "adapters.acme.owner.id",
            "is required: an integer",
        ),
        (
            (
                "[adapters.acme]\n[[adapters.acme.channels]]\nid = 1\nkind = 'rcs'\n"
                "[[adapters.acme.channels]]\nid = 2"
            ),
            5,
            "adapters.acme.channels[1].kind",
            'is required: one of "whatsapp", "rcs"',
        ),
        (
            "[adapters.acme]\nlow = 0x" + "f" * 5000,
            2,
            "adapters.acme.low",
            "an integer has at most 64 bits",
        ),
        (
            "[adapters.acme]\ngreeting = 'a long greeting'",
            2,
            "adapters.acme.greeting",
            "Length of 'greeting' must be <= 10: 15",
        ),
        ("[adapters.acme]\nlow = 10", 1, "adapters.acme", "high is below low"),
        (
            '[adapters.acme]\nhome = "a\\u0000b"',
            2,
            "adapters.acme.home",
            'expected a path, found string "a\\u0000b"',
        ),
        (
            f"[adapters.acme]\nhome = '/{'x' * 256}/a'",
            2,
            "adapters.acme.home",
            "a name in it has more than 255 bytes",
        ),
        (
            "[server]\ndrain_timeout = '2d'",
            2,
            "server.drain_timeout",
            "expected a number from 0 to 86400.0, found a number",
        ),
    ],
)
def test_each_misfit(text, line, key, message):
    """A value that does not fit is told with what was found and what would do."""
    assert problems(text) == [(line, key, message)]


def test_unusable_settings_class():
    """An adapter's settings class with a type that TOML cannot give is told as such."""

    @attrs.frozen
    class Odd:
        callback: memoryview

    with pytest.raises(ConfigurationError, match=r"Odd has fields that no settings can be"):
        loads("[adapters.odd]\ncallback = 1", {"odd": lambda: Odd})


def test_paths_start_where_the_document_lies(tmp_path):
    """A relative path of an adapter's settings is relative to the file, wherever it stands."""
    config = tmp_path / "config.toml"
    config.write_text('[adapters.x]\nroots = ["a", 1, "/b"]\nlogin.user = "jo"\nlogin.file = "c"')
    assert load(config, {"x": lambda: Account}).adapters["x"].settings == Account(
        Key("jo", tmp_path / "c"), tmp_path / "home", (tmp_path / "a", 1, Path("/b"))
    )


def test_a_table_may_be_one_of_several_classes():
    """Where several classes may be meant, a table is the one that knows most of its keys."""
    assert account("login = { user = 'jo', file = 'k' }") == Account(Key("jo", Path("k")))
    assert account("login.password = 'p'\nlogin.user = 'jo'").login == Password("jo", Secret("p"))
    with pytest.raises(ConfigurationError, match=r"login.user: is required: a string"):
        account("login.password = 'p'")
    with pytest.raises(ConfigurationError, match=r"login: expected a table, found integer 1"):
        account("login = 1")


def test_deep_nesting_is_refused():
    """A value that nests beyond any setting is told with its line, and is no crash."""
    told = problems(f"[adapters.acme]\nnames = {'[' * 60}{']' * 60}")
    assert (2, "adapters.acme.names" + "[0]" * 48, "values nest too deeply") in told


def test_class_that_names_its_keys():
    """What a settings class itself refuses, key by key, is told with the place of each key."""

    @attrs.frozen(kw_only=True)
    class Pair:
        names: tuple[str, ...] = ()

        def __attrs_post_init__(self):
            raise ConfigurationError((Problem("names[1]", "is odd"), Problem("", "no pair")))

    with pytest.raises(ConfigurationError) as caught:
        loads("[adapters.x]\nnames = [\n'a',\n'b']", {"x": lambda: Pair})
    assert [(problem.line, str(problem)) for problem in caught.value.problems] == [
        (1, "1: adapters.x: no pair"),
        (4, "4: adapters.x.names[1]: is odd"),
    ]


def test_check_that_crashes():
    """A crash in the check of an adapter's settings is told by its name alone."""

    @attrs.frozen(kw_only=True)
    class Crashing:
        one: str = attrs.field(default="", validator=lambda *_: {}["secret"])
        two: str = attrs.field(default="", validator=lambda *_: 1 // 0)

    with pytest.raises(ConfigurationError) as caught:
        loads("[adapters.x]\none = 'a'\ntwo = 'b'", {"x": lambda: Crashing})
    assert [(problem.key, problem.message) for problem in caught.value.problems] == [
        ("adapters.x.one", "its check failed with KeyError"),
        ("adapters.x.two", "its check failed with ZeroDivisionError"),
    ]


def test_empty_secret():
    """A secret that came out empty is refused: it would keep nobody out."""
    assert problems('[adapters.acme]\ntokens = ["${T}", ""]', T="") == [
        (2, "adapters.acme.tokens[0]", "is empty: an empty secret would match an empty request"),
        (2, "adapters.acme.tokens[1]", "is empty: an empty secret would match an empty request"),
    ]


def test_a_single_secret_needs_no_brackets():
    """One secret stands for an array of one."""
    assert read('[adapters.acme]\ntokens = "hush"') == read('[adapters.acme]\ntokens = ["hush"]')


def test_no_secret_is_shown():
    """Neither the settings nor any message about them shows a secret."""
    assert "hush" not in repr(read('[adapters.acme]\ntokens = ["hush"]'))
    told = problems(
        """
        [adapters.acme]
        tokens = { first = "hush" }
        token = "hush"
        """
    ) + problems(
        """
        [adapters.acme]
        tokens = [918273, ["hush"]]
        """
    )
    assert len(told) == 4
    assert "hush" not in str(told)
    assert "918273" not in str(told)


@pytest.mark.parametrize(
    "written", ['"my-s3cret"', '"0123456789abcdef"', "12345678", '"/x/y/z.ts"']
)
@pytest.mark.parametrize(
    "key",
    [
        *("server.host", "server.port", "server.prefix", "server.max_body", "server.body_timeout"),
        *("server.trusted_proxies", "admin.enabled", "journal.engine", "journal.keep", "log.level"),
        *("journal.nats.stream", "journal.nats.servers", "delivery.jitter", "delivery.tries"),
        *("adapters.acme.type", "adapters.acme.colour", "adapters.acme.level", "adapters.acme.v4"),
        *("adapters.acme.greeting", "adapters.acme.owner", "adapters.acme.allow_networks"),
        *("subscribers.crm.use", "subscribers.crm.events", "subscribers.crm.direction"),
    ],
)
def test_a_secret_in_the_wrong_setting_is_not_shown(key, written):
    """Whatever a setting expects, what was found is not quoted where it may be a secret."""
    for value in (written, f"[{written}]"):
        told = ""
        try:
            read(f"{key} = {value}")
        except ConfigurationError as error:
            told = str(error)
        assert written.strip('"') not in told
