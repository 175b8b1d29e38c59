"""The settings of the journal on NATS, and the journal that is made from them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bridge.errors import ConfigurationError
from bridge.journal.nats import NatsJournal
from bridge.journal.nats.settings import NatsSettings
from bridge.runtime import Bridge
from tests.bridge.settings.documents import load, problems, read


def test_defaults():
    """The defaults are one server on this machine, with a spool beside the settings."""
    assert read('[journal]\nengine = "nats"').journal.own == NatsSettings(
        servers=("nats://127.0.0.1:4222",),
        credentials=None,
        stream="bridge",
        partitions=8,
        replicas=1,
        remember=691200.0,
        synced=False,
        timeout=3.0,
        spool=True,
        spool_path=Path("spool.db"),
        spool_max_size=1073741824,
    )


def test_paths_start_from_the_file(tmp_path):
    """Credentials and spool are found beside the file of the settings."""
    path = tmp_path / "config.toml"
    lines = (
        '[journal]\nengine = "nats"\n[journal.nats]\ncredentials = "a.creds"\nspool_path = "b.db"'
    )
    path.write_text(lines)
    nats = load(path).journal.own
    assert (nats.credentials, nats.spool_path) == (tmp_path / "a.creds", tmp_path / "b.db")


@pytest.mark.parametrize(
    ("line", "key", "message"),
    [
        ("servers = []", "servers", "expected at least one server"),
        ('stream = "a.b"', "stream", "expected letters, digits, - and _, found string 'a.b'"),
        ("partitions = 0", "partitions", "expected a number from 1 to 256, found integer 0"),
        ("replicas = 7", "replicas", "expected 1, 3 or 5, found integer 7"),
        ("replicas = 2", "replicas", "expected 1, 3 or 5, found integer 2"),
        ("replicas = 4", "replicas", "expected 1, 3 or 5, found integer 4"),
    ],
)
def test_mistakes(line, key, message):
    """Each mistake is told with its key."""
    ((_, found, text),) = problems(f"[journal.nats]\n{line}")
    assert (found, text.replace('"', "'")) == (f"journal.nats.{key}", message)


def test_a_password_in_an_address_is_refused_and_not_shown():
    """An address with a password is refused without repeating it."""
    ((_, key, text),) = problems('[journal.nats]\nservers = ["nats://me:hunter2@nats.example.com"]')
    assert key == "journal.nats.servers"
    assert "hunter2" not in text


def test_the_journal_is_made(tmp_path):
    """With the engine `nats`, that is the bridge's journal, with or without a spool."""
    for spool in ("true", "false"):
        settings = read(f'[journal]\nengine = "nats"\n[journal.nats]\nspool = {spool}')
        journal = Bridge.from_settings(settings).journal
        assert isinstance(journal, NatsJournal)
        assert (journal._spool is not None) == (spool == "true")


def test_without_the_extra(monkeypatch):
    """Where nats-py is not installed, the settings are told what to install."""
    monkeypatch.setitem(sys.modules, "bridge.journal.nats", None)
    with pytest.raises(ConfigurationError, match=r"pip install incs-bridge\[nats\]"):
        Bridge.from_settings(read('[journal]\nengine = "nats"'))
