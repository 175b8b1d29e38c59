"""Installed adapters, found through real distributions on the path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bridge import installed
from bridge.errors import ConfigurationError, UnknownAdapter

MODULE = """
import attrs

@attrs.frozen
class Settings:
    token: str = ""

class Good:
    Settings = Settings
    methods = frozenset({"POST"})
    def __init__(self, name, settings): self.name = name
    def verify(self, callback, /): ...
    def parse(self, verified, /): ...

class Other(Good): pass

def factory(name, settings, /): return Good(name, settings)
factory.Settings = Settings

class NoSettings(Good):
    Settings = None

class PlainSettings(Good):
    class Settings: pass

class NoArguments(Good):
    def __init__(self): ...

class NoMethods:
    Settings = Settings
    def __init__(self, name, settings): ...

def check(settings, /, *, local):
    return [settings.own.token, *local(settings.path, 10)]

class Journal:
    @classmethod
    def from_settings(cls, settings, *, local):
        journal = cls()
        journal.made_from = (settings.path.name, settings.own.token, local)
        return journal

CONSTANT = 1
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution with adapters: put its metadata and its module on the path."""
    (tmp_path / "acme_adapters.py").write_text(MODULE)
    (tmp_path / "acme_broken.py").write_text("raise RuntimeError('no such luck')")
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(distribution="acme-adapters", version="1.2", group="bridge.adapters", **adapters):
        folder = tmp_path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        )
        lines = [f"{name} = {value}\n" for name, value in adapters.items()]
        (folder / "entry_points.txt").write_text(f"[{group}]\n" + "".join(lines))

    yield install
    for name in ("acme_adapters", "acme_broken"):
        sys.modules.pop(name, None)


def test_installed_adapters_are_listed_unseen(install):
    """The list names each adapter and its distribution, and imports none of them."""
    install(acme="acme_adapters:Good", broken="acme_broken:Adapter")
    found = installed.adapters()
    assert {"acme", "broken"} <= found.keys()
    acme = found["acme"]
    assert (acme.name, acme.distribution, acme.version) == ("acme", "acme-adapters", "1.2")
    assert not {"acme_adapters", "acme_broken"} & sys.modules.keys()


def test_load(install):
    """An installed adapter's class is loaded by its name; a function that makes one will do."""
    install(acme="acme_adapters:Good", made="acme_adapters:factory")
    adapter_class = installed.load("acme")
    adapter = adapter_class("shop", adapter_class.Settings(token="t"))
    assert type(adapter).__name__ == "Good"
    assert installed.load("made").Settings is adapter_class.Settings


def test_unknown_adapter(install):
    """An adapter that is not installed is told with the one probably meant."""
    install(acme="acme_adapters:Good")
    with pytest.raises(
        UnknownAdapter, match=r'unknown adapter "acne"; did you mean "acme"\?'
    ) as it:
        installed.load("acne")
    assert "acme" in str(it.value).partition("Allowed: ")[2].split(", ")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("acme_broken:Adapter", "RuntimeError: no such luck"),
        ("acme_missing:Adapter", "ModuleNotFoundError: No module named 'acme_missing'"),
        (
            "acme_adapters:Missing",
            "AttributeError: module 'acme_adapters' has no attribute 'Missing'",
        ),
        ("acme_adapters:CONSTANT", "it is not a class"),
        ("acme_adapters:NoSettings", "its Settings is not an attrs class"),
        ("acme_adapters:PlainSettings", "its Settings is not an attrs class"),
        ("acme_adapters:NoArguments", "it is not made from a name and its settings"),
        ("acme_adapters:NoMethods", "it has no method verify and no method parse"),
    ],
)
def test_broken_adapter(install, value, reason):
    """What cannot be imported or is no adapter is listed, and told when it is asked for."""
    install(acme=value)
    told = f"adapter acme cannot be used ({value} of acme-adapters 1.2): {reason}"
    with pytest.raises(ConfigurationError) as caught:
        installed.load("acme")
    assert str(caught.value) == told


def test_two_distributions_with_one_name(install):
    """A name that two distributions use for different things is refused, not picked."""
    install(acme="acme_adapters:Good")
    install("rival", "0.1", acme="acme_adapters:Other")
    with pytest.raises(ConfigurationError, match="offered more than once") as caught:
        installed.load("acme")
    assert "acme_adapters:Good of acme-adapters 1.2" in str(caught.value)
    assert "acme_adapters:Other of rival 0.1" in str(caught.value)


def test_the_same_offer_twice_is_one(install):
    """An adapter that is found twice, installed and as a source tree, is one."""
    install(acme="acme_adapters:Good")
    install("acme-fork", acme="acme_adapters:Good")
    assert installed.adapters()["acme"].load() is installed.load("acme")


def test_settings_are_read_through_the_registry(install):
    """The settings reader finds the classes of installed adapters, and tells broken ones."""
    install(acme="acme_adapters:Good", broken="acme_broken:Adapter")
    document = "[adapters.acme]\ntoken = 'x'\n"
    result = installed.loads(document)
    assert result.adapters["acme"].settings.token == "x"
    with pytest.raises(ConfigurationError) as caught:
        installed.loads(f"{document}[adapters.broken]\n[adapters.missing]\n")
    assert [(problem.line, problem.key) for problem in caught.value.problems] == [
        (3, "adapters.broken"),
        (4, "adapters.missing"),
    ]
    assert "no such luck" in str(caught.value)
    assert "Allowed: acme, broken" in str(caught.value)


def journal(text):
    """Return the journal that a document describes."""
    return installed.journal_of(installed.loads(text).journal)


def test_an_engine_of_a_third_party(install):
    """An installed engine is found by its name, with its own table beside the common keys."""
    install(group="bridge.journals", acme="acme_adapters:Journal")
    text = '[journal]\nengine = "acme"\npath = "x.db"\n[journal.acme]\ntoken = "t"\n'
    path, token, local = journal(text).made_from
    assert (path, token) == ("x.db", "t")
    assert type(local(Path("spool.db"), 10)).__name__ == "SqliteJournal"


def test_an_engine_is_checked_without_a_journal(install, tmp_path):
    """Its module says what needs attention, there and in the journal that it keeps beside it."""
    install(group="bridge.journals", acme="acme_adapters:Missing")
    (tmp_path / "x.db").touch(0o644)
    text = '[journal]\nengine = "acme"\npath = "x.db"\n[journal.acme]\ntoken = "t"\n'
    (tmp_path / "config.toml").write_text(text)
    token, about_the_local_one = installed.check_journal(
        installed.read(tmp_path / "config.toml").journal
    )
    assert token == "t"
    assert about_the_local_one.key == "path"


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ('engine = "acne"', "journal.engine", 'unknown engine "acne"; did you mean "acme"?'),
        (
            'engine = "broken"',
            "journal.engine",
            "this engine cannot be used (acme_broken:Journal of acme-adapters 1.2): RuntimeError",
        ),
        (
            'engine = "extra"',
            "journal.engine",
            "this engine needs the extra: pip install acme-adapters[fast]",
        ),
        ("acme.tokken = 1", "journal.acme.tokken", 'unknown key "tokken"; did you mean "token"?'),
        ("sqlite.x = 1", "journal.sqlite.x", 'unknown key "x"'),
        ("asqlite.x = 1", "journal.asqlite", 'unknown key "asqlite"; did you mean "sqlite"?'),
    ],
)
def test_mistakes_about_engines(install, text, key, message):
    """An engine that is not there, is broken or lacks an extra is told, and so is a wrong key."""
    install(
        group="bridge.journals",
        acme="acme_adapters:Journal",
        broken="acme_broken:Journal",
        extra="acme_missing:Journal [fast]",
    )
    with pytest.raises(ConfigurationError) as caught:
        journal(f"[journal]\n{text}\n")
    (problem,) = caught.value.problems
    assert (problem.line, problem.key) == (2, key)
    assert problem.message.startswith(message)


def test_the_table_of_an_engine_that_lacks_an_extra_is_left_alone(install):
    """A table for an engine that is neither chosen nor usable is no mistake."""
    install(group="bridge.journals", extra="acme_missing:Journal [fast]")
    assert journal('[journal]\nengine = "memory"\nextra.x = 1').location == "memory"
