"""`bridge check` finds every mistake and every doubt, each with its place."""

import re

import attrs
import pytest

from bridge import installed
from bridge.errors import ConfigurationError
from bridge.runtime import Bridge

EXAMPLE = "this is the example's, which everybody knows: set one of your own"
SHORT = "shorter than 16 characters, so it may be guessed"
WITH_A_DEFAULT = """
import attrs
from bridge.adapter.signing import Secret

@attrs.frozen
class Settings:
    secret: Secret = Secret("0123456789abcdef0123456789abcdef")

class Adapter:
    Settings = Settings
    methods = frozenset({"POST"})

    def __init__(self, name, settings): ...
    def verify(self, callback): ...
    def parse(self, verified): ...
"""
SECRET = "0123456789abcdef0123456789abcdef"


def test_a_good_configuration_is_said_to_be_good(command, config):
    """Nothing is printed as data, and a person is told."""
    outcome = command("check")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "config.toml: good\n")


def test_all_mistakes_come_at_once(command, workplace):
    """Unknown keys, wrong types and unknown adapters are each a line `file:line: key: message`."""
    (workplace / "config.toml").write_text(
        '[server]\nport = "many"\nprot = 1\n\n[adapters.inc]\ntokens = ["x"]\n'
    )
    outcome = command("check")
    places = [line.split(": ")[:2] for line in outcome.lines]
    assert places == [
        ["config.toml:2", "server.port"],
        ["config.toml:3", "server.prot"],
        ["config.toml:5", "adapters.inc"],
    ]
    assert outcome.err == "config.toml: 3 mistakes\n"
    assert outcome.code == 3


def test_what_an_adapter_refuses_is_a_mistake_too(command, workplace):
    """Settings that are well-formed but cannot be used are told with their place in the file."""
    (workplace / "config.toml").write_text(
        '[adapters.east]\ntype = "incs"\ntokens = []\n\n[adapters.west]\ntype = "incs"\n'
    )
    outcome = command("check")
    places = [line.split(": ")[:2] for line in outcome.lines]
    assert places == [
        ["config.toml:3", "adapters.east.tokens"],
        ["config.toml:5", "adapters.west.tokens"],
    ]
    assert outcome.code == 3


def test_a_subscriber_that_is_not_there_is_a_mistake(command, workplace):
    """Every function that cannot be imported is told, not only the first."""
    (workplace / "config.toml").write_text(
        '[subscribers.a]\nuse = "nowhere.of_this_name:f"\n[subscribers.b]\nuse = "json:f"\n'
    )
    outcome = command("check")
    places = [line.split(": ")[:2] for line in outcome.lines]
    assert places == [
        ["config.toml:2", "subscribers.a.use"],
        ["config.toml:4", "subscribers.b.use"],
    ]
    assert outcome.code == 3


@pytest.mark.parametrize(
    ("module", "code", "told"),
    [
        (
            "odd_module",
            "def __getattr__(name): raise RuntimeError(name)",
            "cannot import 'odd_module': RuntimeError: ",
        ),
        (
            "odd_object",
            (
                "class Odd:\n"
                " def __call__(self, event): ...\n"
                " def __getattr__(self, name): raise RuntimeError(name)\n"
                "take = Odd()"
            ),
            "this cannot be looked at: RuntimeError: ",
        ),
        (
            "odd_class",
            (
                "class Odd:\n"
                " __class__ = property(lambda self: 1 / 0)\n"
                " def __call__(self, event): ...\n"
                "take = Odd()"
            ),
            "this cannot be looked at: ZeroDivisionError: division by zero",
        ),
    ],
)
def test_a_subscriber_that_cannot_be_looked_at(command, workplace, module, code, told):
    """A module or an object whose attributes raise is a mistake of the settings, and no bug."""
    (workplace / f"{module}.py").write_text(code)
    (workplace / "config.toml").write_text(f"[subscribers.crm]\nuse = '{module}:take'\n")
    outcome = command("check")
    assert outcome.code == 3
    assert told in " ".join(outcome.out.split())


def test_doubts_are_warnings(command, workplace):
    """Example tokens, guessable tokens and open doors are told, and still the exit code is 0."""
    path = workplace / "config.toml"
    path.write_text(
        "[adapters.incs]\n"
        f'tokens = ["example-token-replace-me", "tooshort", "{SECRET}"]\n'
        "insecure = true\n"
    )
    path.chmod(0o600)
    outcome = command("check")
    assert outcome.lines == [
        f"config.toml:2: adapters.incs.tokens[0]: warning: {EXAMPLE}",
        f"config.toml:2: adapters.incs.tokens[1]: warning: {SHORT}",
        "config.toml:3: adapters.incs.insecure: warning: anybody can send callbacks",
    ]
    assert outcome.err == "config.toml: good, 3 warnings\n"
    assert outcome.code == 0


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o620, 0o602])
def test_a_secret_in_an_open_file_is_doubtful(command, config, monkeypatch, mode):
    """A file with a secret that anybody reads or its group writes is; ${VARIABLE} is no secret."""
    config.chmod(mode)
    [line] = command("check").lines
    assert line.startswith("config.toml:8: adapters.incs.tokens[0]: warning: ")
    assert "chmod 640" in line
    assert SECRET not in line
    monkeypatch.setenv("INCS_TOKEN", SECRET)
    config.write_text(config.read_text().replace(SECRET, "${INCS_TOKEN}"))
    assert command("check").out == ""


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
def test_a_secret_for_the_owner_and_the_group_to_read_is_fine(command, config, mode):
    """A file of root's that the service's group reads, and nobody else, is how it should be."""
    config.chmod(mode)
    assert command("check").out == ""


def test_a_secret_that_is_a_default_is_not_in_the_file(command, workplace, install):
    """The file's mode matters for what stands in the file."""
    install("acme", WITH_A_DEFAULT)
    path = workplace / "config.toml"
    path.write_text("[adapters.acme]\n")
    path.chmod(0o644)
    assert command("check").out == ""


def test_the_journal_is_looked_at(command, workplace):
    """A file in the journal's place that is none is a mistake, and one that is open a warning."""
    config = workplace / "config.toml"
    config.write_text('[journal]\npath = "notes.txt"\n')
    (workplace / "notes.txt").write_text("mine")
    outcome = command("check")
    (line,) = outcome.lines
    assert line.startswith("config.toml:2: journal.path: ")
    assert "is not a journal, and is left alone" in line
    assert outcome.code == 3
    (workplace / "notes.txt").unlink()
    (workplace / "notes.txt.damaged-20260101T000000Z").touch()
    outcome = command("check")
    (line,) = outcome.lines
    assert line.startswith("config.toml:2: journal.path: warning: ")
    assert "was set aside" in line
    assert outcome.code == 0
    config.write_text('[journal]\nengine = "nats"\n[journal.nats]\nspool_path = "none/s.db"\n')
    outcome = command("check")
    assert outcome.lines[0].startswith("config.toml:4: journal.nats.spool_path: ")
    assert "does not exist" in outcome.lines[0]


def test_credentials_for_nats_have_to_be_there(command, workplace):
    """A file of credentials that cannot be read is a mistake, where NATS is used."""
    path = workplace / "config.toml"
    text = '[journal]\nengine = "nats"\n[journal.nats]\ncredentials = "bridge.creds"\n'
    path.write_text(text)
    outcome = command("check")
    assert outcome.code == 3
    [line] = outcome.lines
    place = "config.toml:4: journal.nats.credentials: "
    assert line == f"{place}the file cannot be read: No such file or directory"
    path.write_text(text.replace('"nats"', '"memory"'))
    assert command("check").code == 0
    path.write_text(text)
    (workplace / "bridge.creds").touch()
    assert command("check").code == 0


def test_a_terminal_gets_the_same_in_colours(command, workplace, monkeypatch):
    """On a terminal a mistake is told over two lines, the place behind the key."""
    (workplace / "config.toml").write_text("[servr]\n")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    plain = re.sub(r"\x1b\[[\d;]*m", "", command("check").out)
    first, second = plain.splitlines()
    assert first == "error   servr  config.toml:1"
    assert second.startswith('        unknown key "servr"')


def warnings(command):
    """Return the key and the message of each warning."""
    outcome = command("check")
    assert outcome.code == 0, outcome.out
    return [tuple(line.split(": ", 1)[1].split(": warning: ")) for line in outcome.lines]


def keys(command):
    return [key for key, _ in warnings(command)]


@pytest.fixture
def configured(workplace):
    """Write a configuration that only its owner reads."""

    def write(text):
        path = workplace / "config.toml"
        path.write_text(text)
        path.chmod(0o600)

    return write


@pytest.mark.parametrize("mode", [0o644, 0o620, 0o602])
def test_a_file_of_a_secret_that_others_may_read(command, configured, workplace, mode):
    """A file behind `file:` is looked at as the configuration itself is."""
    (workplace / "token").write_text(SECRET)
    (workplace / "token").chmod(mode)
    configured('[adapters.incs]\ntokens = ["file:token"]\n')
    ((key, message),) = warnings(command)
    assert key == "adapters.incs.tokens[0]"
    assert message.startswith("token is a file that others may read, or its group write: ")
    (workplace / "token").chmod(0o640)
    assert keys(command) == []


def test_credentials_for_nats_that_others_may_read(command, configured, workplace):
    """The file of NATS credentials is, if NATS is used."""
    (workplace / "bridge.creds").write_text(SECRET)
    (workplace / "bridge.creds").chmod(0o644)
    text = '[journal]\nengine = "nats"\n[journal.nats]\ncredentials = "bridge.creds"\n'
    configured(text)
    assert keys(command) == ["journal.nats.credentials"]
    configured(text.replace('"nats"', '"memory"'))
    assert keys(command) == []


RCS = f'[adapters.rcs]\nclient_tokens = ["{SECRET}"]\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (RCS, ["adapters.rcs"]),
        (f'[journal]\nkeep = "29d"\n{RCS}', ["journal.keep"]),
        (f'[journal]\nkeep = "30d"\n{RCS}', []),
        (f'[adapters.incs]\ntokens = ["{SECRET}"]\n', []),
    ],
)
def test_a_journal_that_forgets_before_a_provider_does(command, configured, text, expected):
    """Google repeats a callback for thirty days: it is told where `keep` is shorter, and how long.

    A file that does not say how long has the adapter's line.
    """
    configured(text)
    assert keys(command) == expected
    told = command("check").lines
    assert all(line.startswith("config.toml:") and line[12].isdecimal() for line in told)
    assert all('set keep = "30d" below [journal]' in line for line in told)


def test_a_secret_behind_a_reference(command, configured, monkeypatch):
    """The default of a variable is a secret in the file, whether the variable is set or not."""
    configured(f'[adapters.incs]\ntokens = ["${{INCS_TOKEN:-{SECRET}}}"]\n')
    told = (
        "adapters.incs.tokens[0]",
        "the default after `:-` is a secret in this file: leave it out",
    )
    assert warnings(command) == [told]
    monkeypatch.setenv("INCS_TOKEN", SECRET[::-1])
    assert warnings(command) == [told]
    configured('[adapters.incs]\ntokens = ["${INCS_TOKEN:-}"]\n')
    assert warnings(command) == []


@pytest.mark.parametrize(
    ("nats", "expected"),
    [
        ('servers = ["nats://127.0.0.1:4222", "ws://[::1]:80", "nats://localhost"]', []),
        ('servers = ["tls://a.example.com"]\ncredentials = "c"', []),
        ('servers = ["tls://a.example.com"]', ["credentials"]),
        ('servers = ["nats://10.0.0.5:4222"]\ncredentials = "c"', ["servers[0]"]),
        ('servers = ["tls://a", "ws://b.example.com"]', ["servers[1]", "credentials"]),
    ],
)
def test_nats_without_tls_or_users(command, configured, workplace, nats, expected):
    """Servers elsewhere without TLS are told, and that nobody has to prove who they are."""
    (workplace / "c").touch(0o600)
    configured(f'[journal]\nengine = "nats"\n[journal.nats]\n{nats}\n')
    assert keys(command) == [f"journal.nats.{key}" for key in expected]
    configured(f'[journal]\nengine = "memory"\n[journal.nats]\n{nats}\n')
    assert keys(command) == []


@pytest.mark.parametrize(
    ("host", "is_told"), [("127.0.0.1", False), ("::1", False), ("0.0.0.0", True), ("db.lan", True)]
)
def test_admin_over_plain_http(command, configured, host, is_told):
    """An admin listener that other machines reach is, since it has no TLS."""
    configured(f'[admin]\nhost = "{host}"\ntoken = "{SECRET}"\n')
    assert keys(command) == ["admin.host"] * is_told
    configured(f'[admin]\nhost = "{host}"\ntoken = "{SECRET}"\nenabled = false\n')
    assert keys(command) == []


def test_proxies_of_the_whole_world(command, configured):
    """Networks that no proxies are alone in are, also where halves make up the whole."""
    networks = ["10.0.0.0/8", "0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1", "2001:db8::/32"]
    configured(f"[server]\ntrusted_proxies = {networks}\n")
    assert keys(command) == [f"server.trusted_proxies[{index}]" for index in (1, 2, 3, 4)]


def test_one_secret_for_two(command, configured):
    """A token of two adapters, or of an adapter and the operators, is told at the second place."""
    configured(
        f'[admin]\ntoken = "{SECRET}"\n[adapters.incs]\ntokens = ["{SECRET[::-1]}", "{SECRET}"]\n'
        f'[adapters.other]\ntype = "incs"\ntokens = ["{SECRET[::-1]}"]\n'
    )
    assert warnings(command) == [
        ("adapters.incs.tokens[1]", "the same as admin.token: one that leaks opens both"),
        (
            "adapters.other.tokens[0]",
            "the same as adapters.incs.tokens[0]: one that leaks opens both",
        ),
    ]


@pytest.mark.parametrize(
    ("token", "word"),
    [
        (f"/{SECRET}", "slashes"),
        (f"{SECRET}/", "slashes"),
        ("/" * 16, "can never match"),
        (f"{SECRET}/../{SECRET}", "can never match"),
        (f" {SECRET}", "white space"),
        (f"{SECRET}\\n", "white space"),
        (f"a{SECRET}/{SECRET}", None),
    ],
)
def test_a_token_that_hardly_matches(command, configured, token, word):
    """A token that an address or a header does not carry as it is, is told."""
    configured(f'[adapters.incs]\ntokens = ["{token}"]\n')
    told = [message for _, message in warnings(command)]
    assert [word in message for message in told] == [True] * (word is not None)


@pytest.mark.parametrize(
    ("adapters", "more", "is_told"),
    [
        ("incs other", "", True),
        ("incs other", 'domain = "incs"\n', False),
        ("incs other", 'source = "incs"\n', False),
        ("incs", "", False),
    ],
)
def test_an_account_of_any_domain(command, configured, adapters, more, is_told):
    """A subscriber by account alone is told of where another domain could name the account."""
    tables = "".join(
        f'[adapters.{name}]\ntype = "incs"\ntokens = ["{SECRET}{name}"]\n'
        for name in adapters.split()
    )
    subscriber = f'[subscribers.crm]\nuse = "console"\naccount = "30058"\n{more}'
    configured(tables + subscriber)
    assert keys(command) == ["subscribers.crm.account"] * is_told


def test_slashes_around_other_secrets_are_nobodys_business(command, configured):
    """A secret that signs may begin and end with whatever it likes."""
    configured(f'[adapters.whatsapp]\napp_secrets = ["/{SECRET}/"]\n')
    assert warnings(command) == []


INSECURE = "[adapters.incs]\ninsecure = true\n"
SENDING = f"""\
[adapters.whatsapp]
app_secrets = ["{SECRET}"]
access_token = "{SECRET}"
phone_number_id = "106540352242922"
"""


@pytest.mark.parametrize(
    ("text", "key", "told"),
    [
        (
            f'{INSECURE}domain = "one"\n{SENDING}domain = "one"\n',
            "domain",
            "verifies no signatures",
        ),
        (f'{INSECURE}domain = "a/b"\n', "adapters.incs.domain", "without a slash"),
        (f'{SENDING}[subscribers.outbox]\nuse = "console"\n', "outbox", "two subscribers"),
        (f'{INSECURE}[subscribers.a]\nuse = "media"\nurl = "nowhere://x"\n', "url", "nowhere"),
        (f'{INSECURE}[subscribers.outbox]\nuse = "console"\n', None, None),
        (f'{INSECURE}[subscribers.a]\nuse = "media"\nfolder = "files"\n', None, None),
        (f"{SENDING}[tracing]\nenabled = true\n", None, None),
    ],
)
def test_what_is_checked_is_what_a_bridge_refuses(command, workplace, text, key, told):
    """Without a bridge, `check` finds what making one does, and nothing else."""
    path = workplace / "config.toml"
    path.write_text(text)
    path.chmod(0o600)
    outcome = command("check")
    try:
        Bridge.from_settings(installed.read(path))
    except ConfigurationError as error:
        (problem,) = error.problems
        assert outcome.code == 3
        assert outcome.lines == [str(attrs.evolve(problem, file="config.toml"))]
        assert key in problem.key
        assert told in problem.message
    else:
        assert (outcome.code, key) == (0, None)


@pytest.mark.parametrize(
    ("adapter", "key"),
    [("incs", "tokens"), ("whatsapp", "app_secrets"), ("rcs", "client_tokens")],
)
def test_a_secret_that_is_not_there_is_missing(command, configured, adapter, key):
    """What a table lacks to tell whose callbacks are genuine is called that, and what it is for."""
    configured(f"[adapters.{adapter}]\n")
    outcome = command("check")
    assert outcome.code == 3
    (line,) = outcome.lines
    assert line.startswith(f"config.toml:1: adapters.{adapter}.{key}: missing; ")


@pytest.mark.parametrize(
    "url",
    [
        "graph.facebook.com/v26.0",
        "//graph.facebook.com/v26.0",
        "ftp://graph.facebook.com",
        "https:graph.facebook.com",
        "https://",
        "https://graph..com",
        "https://graph.facebook.com:x",
        "https://graph.facebook.com/?v=26",
        "https://graph.facebook.com /v26.0",
        "https://me:hunter2@graph.facebook.com",
        "",
    ],
)
@pytest.mark.parametrize("adapter", ["incs", "whatsapp", "rcs"])
def test_an_address_to_send_to_is_one(command, configured, adapter, url):
    """What no request can go to is a mistake of the settings, with its line."""
    configured(f'[adapters.{adapter}]\ninsecure = true\nbase_url = "{url}"\n')
    outcome = command("check")
    assert outcome.code == 3
    told = 'expected an address such as "https://api.example.com/v1", without ?, # and @'
    assert outcome.lines == [f"config.toml:3: adapters.{adapter}.base_url: {told}"]


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("file:key.json as a path", "no client_email and no private_key and no token_uri"),
        ('{"client_email": "a@b.example", "token_uri": "https://c.example"}', "no private_key"),
    ],
)
def test_a_key_that_is_no_service_account_s(command, configured, monkeypatch, key, told):
    """It is told without a provider being asked, and not shown; callbacks are received as ever."""
    monkeypatch.setenv("KEY", key)
    configured('[adapters.rcs]\ninsecure = true\nservice_account = "${KEY}"\n')
    assert (
        "adapters.rcs.service_account",
        f"not the JSON key of a service account: it has {told}",
    ) in warnings(command)
