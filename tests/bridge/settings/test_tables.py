"""The settings: defaults, what may be written, and every mistake told at once."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.adapter.signing import Secret
from bridge.errors import ConfigurationError, Problem
from bridge.model import Direction
from bridge.settings import (
    AdminSettings,
    DeliverySettings,
    JournalSettings,
    LogSettings,
    ServerSettings,
    Settings,
    SubscriberEntry,
)
from tests.bridge.settings.documents import Acme, load, loads, problems, read


def test_nothing_set_gives_the_defaults():
    """An empty document is a complete set of settings."""
    assert read("") == Settings(
        server=ServerSettings(
            host="127.0.0.1",
            port=8080,
            prefix="/callbacks",
            max_body=4194304,
            trusted_proxies=(),
            header_timeout=10.0,
            body_timeout=10.0,
            keepalive_timeout=75.0,
            max_connections=1000,
            drain_timeout=20.0,
        ),
        admin=AdminSettings(enabled=True, host="127.0.0.1", port=8081, token=None),
        journal=JournalSettings(
            engine="sqlite",
            path=Path("bridge.db"),
            keep=691200.0,
            max_size=0,
            absolute_limit=2592000.0,
            min_free_space=67108864,
        ),
        log=LogSettings(format="auto", level="info"),
        delivery=DeliverySettings(
            concurrency=16, timeout=60.0, tries=10, first_delay=1.0, max_delay=600.0, jitter=0.2
        ),
        adapters={},
        subscribers={},
        path=None,
    )


def test_sections_are_read():
    """Each table of the document sets what it names and leaves the rest alone."""
    result = read(
        """
        server = { port = 0, prefix = "/in", max_body = "1MiB", trusted_proxies = ["10.0.0.0/8"] }
        journal.engine = "memory"
        journal.keep = "12h"
        [log]
        level = "debug"
        """
    )
    assert result.server == ServerSettings(
        port=0, prefix="/in", max_body=1048576, trusted_proxies=(IPv4Network("10.0.0.0/8"),)
    )
    assert result.journal == JournalSettings(engine="memory", keep=43200.0)
    assert result.log == LogSettings(level="debug")


def test_adapter_entry():
    """An adapter's table holds what is common to all of them, and its own settings."""
    entry = read(
        """
        [adapters.shop-1]
        type = "acme"
        allow_networks = ["203.0.113.7", "2001:db8::/32"]
        domain = "acme"
        believe_unsigned = true
        max_age = "8d"
        tokens = ["one", "two"]
        """
    ).adapters["shop-1"]
    assert (entry.name, entry.type) == ("shop-1", "acme")
    assert entry.allow_networks == (IPv4Network("203.0.113.7/32"), IPv6Network("2001:db8::/32"))
    assert (entry.domain, entry.believe_unsigned, entry.max_age) == ("acme", True, 691200.0)
    assert entry.settings == Acme(tokens=(Secret("one"), Secret("two")))
    plain = read("[adapters.acme]").adapters["acme"]
    assert (plain.type, plain.domain, plain.max_age) == ("acme", None, None)


def test_subscriber_entry():
    """A subscriber has its filters, and a delivery of its own on top of everyone's."""
    result = read(
        """
        [delivery]
        tries = 3
        timeout = 5
        [subscribers.crm]
        use = "shop.crm:Crm.receive"
        events = ["message", "status_change"]
        channel = "whatsapp"
        account = "30058"
        direction = "inbound"
        content = "text"
        start = "beginning"
        timeout = "1m"
        [subscribers.console]
        use = "console"
        show_personal_data = true
        """
    )
    crm = result.subscribers["crm"]
    assert (crm.name, crm.use, crm.start) == ("crm", "shop.crm:Crm.receive", "beginning")
    assert crm.events == ("message", "status_change")
    assert (crm.channel, crm.account, crm.content) == ("whatsapp", "30058", ("text",))
    assert crm.direction is Direction.INBOUND
    assert crm.delivery == DeliverySettings(tries=3, timeout=60.0)
    console = result.subscribers["console"]
    assert console.show_personal_data
    assert console.events == ()
    assert console.delivery == result.delivery == DeliverySettings(tries=3, timeout=5.0)


def test_content_may_name_several_kinds():
    """A subscriber's contents and events are one word, or an array of them."""
    entry = read(
        '[subscribers.crm]\nuse = "console"\nevents = "message"\ncontent = ["text", "media"]'
    ).subscribers["crm"]
    assert (entry.events, entry.content) == (("message",), ("text", "media"))


# --- mistakes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "key", "message"),
    [
        (
            "[sever]\nport = 1",
            1,
            "sever",
            (
                'unknown key "sever"; did you mean "server"? '
                "Allowed: adapters, admin, delivery, journal, log, outbox, server, subscribers, "
                "tracing"
            ),
        ),
        (
            "[log]\n\nlevle = 'info'",
            3,
            "log.levle",
            'unknown key "levle"; did you mean "level"? Allowed: format, level',
        ),
        ("[log]\nq = 1", 2, "log.q", 'unknown key "q". Allowed: format, level'),
        ("server = 1", 1, "server", "expected a table, found integer 1"),
        ("adapters = []", 1, "adapters", "expected a table, found an array"),
        ("[server]\nhost = 5", 2, "server.host", "expected a string, found integer 5"),
        ("[server]\nhost = {}", 2, "server.host", "expected a string, found a table"),
        (
            "[server]\nhost = 1979-05-27",
            2,
            "server.host",
            "expected a string, found a date or time",
        ),
        ("[server]\nport = true", 2, "server.port", "expected an integer, found boolean true"),
        ("[server]\nport = 1.5", 2, "server.port", "expected an integer, found number 1.5"),
        (
            "[server]\nport = 65536",
            2,
            "server.port",
            "expected a number from 0 to 65535, found integer 65536",
        ),
        (
            "[server]\nmax_connections = 0",
            2,
            "server.max_connections",
            "expected a number of at least 1, found integer 0",
        ),
        (
            "[server]\nprefix = 'callbacks/'",
            2,
            "server.prefix",
            'expected a path such as "/callbacks" without a slash at its end, found a string',
        ),
        (
            "[delivery]\njitter = nan",
            2,
            "delivery.jitter",
            "expected a number from 0.0 to 1.0, found number NaN",
        ),
        (
            "[log]\nlevel = 'warn'",
            2,
            "log.level",
            'unknown word "warn"; did you mean "warning"? Allowed: debug, error, info, warning',
        ),
        (
            "[log]\nlevel = 3",
            2,
            "log.level",
            'expected one of "debug", "info", "warning", "error", found integer 3',
        ),
        ("[journal]\npath = ''", 2, "journal.path", 'expected a path, found string ""'),
        ("[journal]\nkeep = '31d'", 1, "journal", "absolute_limit is shorter than keep"),
        (
            "[server]\ntrusted_proxies = '10.0.0.0/8'",
            2,
            "server.trusted_proxies",
            (
                'expected an array, each item an IPv4 network such as "10.0.0.0/8" or an IPv6 '
                'network such as "2001:db8::/32", found a string'
            ),
        ),
        (
            "[server]\ntrusted_proxies = [\n  '10.0.0.0/8',\n  'proxy']",
            4,
            "server.trusted_proxies[1]",
            (
                'expected an IPv4 network such as "10.0.0.0/8" or an IPv6 network such as '
                '"2001:db8::/32", found string "proxy"'
            ),
        ),
        (
            "[adapters.shop]\ntype = 'acem'",
            2,
            "adapters.shop.type",
            'unknown adapter "acem"; did you mean "acme"? Allowed: acme, broken',
        ),
        (
            "[adapters.shop]",
            1,
            "adapters.shop",
            'unknown adapter "shop". Allowed: acme, broken',
        ),
        ("[adapters.broken]", 1, "adapters.broken", "adapter broken cannot be imported"),
        (
            "[adapters.'Acme 1']\ntype = 'acme'",
            1,
            'adapters."Acme 1"',
            'expected a name of a-z, 0-9, "_" and "-", beginning with a-z or 0-9',
        ),
        ("[subscribers.crm]", 1, "subscribers.crm.use", "is required: a string"),
        (
            "[subscribers.crm]\nuse = 'shop.crm'",
            2,
            "subscribers.crm.use",
            'expected "console", "webhook", "media" or "package.module:function", found a string',
        ),
        (
            "[subscribers.crm]\nuse = 'bridge:receive'",
            2,
            "subscribers.crm.use",
            (
                "`bridge` is this package: a file of yours that is called bridge.py needs another "
                "name"
            ),
        ),
        (
            "[subscribers.crm]\nuse = 'console'\nevents = ['mesage']",
            3,
            "subscribers.crm.events[0]",
            (
                'unknown word "mesage"; did you mean "message"? Allowed: consent_change, handover, '
                "message, notice, status_change, template_change, typing, unrecognized"
            ),
        ),
        (
            "[subscribers.crm]\nuse = 'console'\ncontent = 'texts'",
            3,
            "subscribers.crm.content",
            (
                'unknown word "texts"; did you mean "text"? Allowed: call_permission, '
                "carousel, choice, contacts, deletion, edit, form, location, media, menu, native, "
                "order, reaction, receipt, system, template, text, unsupported"
            ),
        ),
        (
            "[subscribers.crm]\nuse = 'console'\ndirection = 'in'",
            3,
            "subscribers.crm.direction",
            'unknown word "in". Allowed: inbound, outbound',
        ),
        (
            "[subscribers.crm]\nuse = 'console'\ntries = 0",
            3,
            "subscribers.crm.tries",
            "expected a number of at least 1, found integer 0",
        ),
        (
            "[subscribers.crm]\nuse = 'console'\ntrys = 0",
            3,
            "subscribers.crm.trys",
            (
                'unknown key "trys"; did you mean "tries"? Allowed: account, channel, completions, '
                "concurrency, content, direction, domain, events, first_delay, folder, gather, "
                "jitter, max_delay, origin, owned, secret, show_personal_data, source, start, "
                "timeout, transaction, tries, url, use, when_paused"
            ),
        ),
        (
            "[subscribers.crm]\nuse = 'shop:receive'\nshow_personal_data = true",
            3,
            "subscribers.crm.show_personal_data",
            'show_personal_data is for use = "console" only',
        ),
        (
            "[subscribers.Crm]\nuse = 'console'",
            1,
            "subscribers.Crm",
            'expected a name of a-z, 0-9, "_" and "-", beginning with a-z or 0-9',
        ),
    ],
)
def test_each_mistake(text, line, key, message):
    """A mistake is told with its line, its key, what was found and what would do."""
    assert problems(text) == [(line, key, message)]


def test_all_that_does_not_go_with_a_use_at_once():
    """Every key that does not go with the subscriber's use is told, and every one it lacks."""
    text = "[subscribers.crm]\nuse = 'webhook'\nfolder = 'files'\nshow_personal_data = true"
    crm = "subscribers.crm"
    assert problems(text) == [
        (1, f"{crm}.secret", "is required: what a webhook is signed with"),
        (1, f"{crm}.url", "is required: where a webhook posts to"),
        (3, f"{crm}.folder", 'folder is for use = "media" only'),
        (4, f"{crm}.show_personal_data", 'show_personal_data is for use = "console" only'),
    ]


def test_all_mistakes_at_once():
    """One reading tells every mistake of a document, in its order."""
    found = problems(
        """\
typo = 1
[server]
port = 70000
host = 5
[delivery]
jitter = 2
tries = "many"
[adapters.acme]
tokens = ["${NOPE}", 5]
insecur = true
[[adapters.acme.channels]]
id = 1
[[adapters.acme.channels]]
id = 1
kind = "sms"
[adapters.other]
[subscribers.crm]
use = "nowhere"
timeout = "soon"
start = "middle"
"""
    )
    assert [(line, key) for line, key, _ in found] == [
        (1, "typo"),
        (3, "server.port"),
        (4, "server.host"),
        (6, "delivery.jitter"),
        (7, "delivery.tries"),
        (9, "adapters.acme.tokens[0]"),
        (9, "adapters.acme.tokens[1]"),
        (10, "adapters.acme.insecur"),
        (11, "adapters.acme.channels[0].kind"),
        (15, "adapters.acme.channels[1].kind"),
        (16, "adapters.other"),
        (18, "subscribers.crm.use"),
        (19, "subscribers.crm.timeout"),
        (20, "subscribers.crm.start"),
    ]


def test_two_adapters_cannot_share_a_path():
    """An adapter's name is its path, and TOML itself refuses a second table of that name."""
    ((line, _, message),) = problems("[adapters.acme]\n\n[adapters.acme]\n")
    assert line == 3
    assert message.startswith("not valid TOML: Cannot declare")


def test_file_is_named(tmp_path):
    """A problem of a file reads as `file:line: key: message`."""
    config = tmp_path / "config.toml"
    config.write_text("\ufeff[server]\nport = 'x'\n", encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load(str(config))
    assert str(caught.value) == (f'{config}:2: server.port: expected an integer, found string "x"')


def test_journal_stands_beside_the_file(tmp_path):
    """The journal's path starts from the directory of the settings, unless it is absolute."""
    config = tmp_path / "config.toml"
    config.write_text('[journal]\npath = "data/events.db"\n')
    result = load(config)
    assert result.path == config
    assert result.journal.path == tmp_path / "data/events.db"
    config.write_text('[journal]\npath = "/var/lib/events.db"\n')
    assert load(config).journal.path == Path("/var/lib/events.db")


def test_unreadable_settings(tmp_path):
    """A file that is missing or no text is a problem that names the file."""
    with pytest.raises(ConfigurationError, match=r"none\.toml: cannot be read: No such file"):
        load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigurationError, match=r"bad\.toml: cannot be read: not text in UTF-8"):
        load(tmp_path / "bad.toml")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (lambda: ServerSettings(port=-1), "expected a number from 0 to 65535, found integer -1"),
        (lambda: DeliverySettings(tries=0), "expected a number of at least 1, found integer 0"),
        (
            lambda: DeliverySettings(timeout="3s"),
            '^timeout: .*found string "3s"; in Python, write 3$',
        ),
        (
            lambda: DeliverySettings(tries="many"),
            '^tries: expected a number .* found string "many"$',
        ),
        (lambda: DeliverySettings(concurrency=None), "^concurrency: .*, found None$"),
        (lambda: DeliverySettings(jitter=True), "^jitter: .*, found boolean true$"),
        (lambda: SubscriberEntry(name="", use="x"), "expected .console., .webhook., .media. or"),
        (lambda: SubscriberEntry(name="", use="media"), "where files are kept, or a url"),
        (lambda: SubscriberEntry(name="", use="media", url="files"), "a path is a folder"),
        (
            lambda: SubscriberEntry(name="", use="media", folder=Path("s3:/b")),
            "has a scheme is a url",
        ),
        (
            lambda: SubscriberEntry(name="", use="media", folder=Path("a"), url="s3://b"),
            "either in a",
        ),
        (lambda: SubscriberEntry(name="", use="console", url="s3://b"), "url is for use = "),
    ],
)
def test_limits_hold_in_python_too(setting, message):
    """Settings made in Python are held to the same limits."""
    with pytest.raises(ConfigurationError, match=message):
        setting()


def test_error_holds_no_cause_with_values():
    """The error carries neither the document nor what others said about it."""
    with pytest.raises(ConfigurationError) as caught:
        read("[server]\nport = 'x'")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_adapters_objections_are_located(tmp_path):
    """What an adapter says against its settings later on is told with file, line and key."""
    config = tmp_path / "config.toml"
    config.write_text(
        "[adapters.acme]\ninsecure = false\n\n[[adapters.acme.channels]]\nid = 1\nkind = 'rcs'\n"
    )
    objection = ConfigurationError(
        (
            Problem(key="tokens", message="empty"),
            Problem(key="channels[0].id", message="odd"),
            Problem(key="channels[0].phone", message="missing"),
            Problem(key="", message="all wrong"),
        )
    )
    located = load(config).locate("adapters.acme", objection)
    assert "\n".join(map(str, located)) == (
        f"{config}:1: adapters.acme.tokens: empty\n"
        f"{config}:5: adapters.acme.channels[0].id: odd\n"
        f"{config}:4: adapters.acme.channels[0].phone: missing\n"
        f"{config}:1: adapters.acme: all wrong"
    )
    assert str(Settings().locate("adapters.acme", objection)[0]) == "adapters.acme.tokens: empty"
    assert loads("").locate("gone", objection)[0].line is None


# --- a law -------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        *("server", "port", "adapters", "acme", "tokens", "channels", "id", "labels", "type"),
        *("subscribers", "use", "delivery", "pause", "owner", "level", "high", "network"),
    ]
)
SCALARS = st.one_of(
    st.booleans().map(lambda value: str(value).lower()),
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.sampled_from(["inf", "-nan", "1e300", "1979-05-27", "'acme'", "'${A}'", "'file:/'", "'1d'"]),
    st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=5).map("'{}'".format),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.dictionaries(WORDS, inner, max_size=3).map(
            lambda table: "{" + ", ".join(f'"{key}" = {table[key]}' for key in table) + "}"
        ),
    ),
    max_leaves=8,
)


@given(st.dictionaries(WORDS, VALUES, max_size=4))
def test_any_document_is_read_or_told(table):
    """Whatever a document says, it gives settings or a `ConfigurationError`, never a crash."""
    text = "\n".join(f'"{key}" = {value}' for key, value in table.items())
    told = ()
    try:
        read(text, A="a")
    except ConfigurationError as error:
        told = error.problems
    assert all(problem.line and problem.key for problem in told)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_loopback_needs_no_token(host):
    """Whoever is on the machine itself gets in without a token."""
    assert read(f'[admin]\nhost = "{host}"').admin.token is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "bridge.example.com"])
def test_any_other_address_needs_a_token(host):
    """An admin listener that others can reach is refused without a token, and taken with one."""
    expected = f"is required where host is not a loopback address, as '{host}' is not"
    assert problems(f'[admin]\nhost = "{host}"') == [(1, "admin.token", expected)]
    assert read(f'[admin]\nhost = "{host}"\ntoken = "t"').admin.token == Secret("t")
    assert read(f'[admin]\nhost = "{host}"\nenabled = false').admin.host == host
