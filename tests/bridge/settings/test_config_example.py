"""The example of a configuration: complete, valid, and usable as it is."""

from __future__ import annotations

import re
import tomllib
from functools import partial
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, get_args

import attrs

from bridge.adapter.signing import Secret
from bridge.journal.nats.settings import NatsSettings
from bridge.journal.postgres.settings import PostgresSettings
from bridge.settings import (
    AdapterEntry,
    AdminSettings,
    DeliverySettings,
    JournalSettings,
    LogSettings,
    OutboxSettings,
    ServerSettings,
    Settings,
    SubscriberEntry,
    TracingSettings,
)
from bridge.settings.reader import keys_of
from tests.bridge.settings.documents import load, loads

EXAMPLE = Path(__file__).parents[3] / "config.example.toml"


def uncommented():
    """Return the example with every setting in force: "#" and no space is a setting."""
    return re.sub(r"(?m)^#(?=[^ #\n])", "", EXAMPLE.read_text())


BUILT_IN = {
    entry_point.name: entry_point
    for entry_point in distribution("incs-bridge").entry_points
    if entry_point.group == "bridge.adapters"
}


def built_in(name) -> Any:
    return BUILT_IN[name].load()


def built_in_settings(name):
    return built_in(name).Settings


ADAPTERS = {name: partial(built_in_settings, name) for name in BUILT_IN}


def test_example_loads_as_it_is():
    """The example works with nothing else set, and its adapter is made from it."""
    result = load(EXAMPLE, ADAPTERS, {})
    assert list(result.adapters) == ["incs"]
    incs = result.adapters["incs"].settings
    assert len(incs.tokens) == 1
    (channel,) = incs.channels
    assert (channel.id, channel.kind) == (30058, "whatsapp")
    assert channel.business_phone == "6281519236680"
    assert built_in("incs")("incs", incs).methods == {"POST"}
    assert [entry.use for entry in result.subscribers.values()] == ["console"]


def test_example_takes_the_token_from_the_environment():
    """The example's token is replaced by the one in the environment."""
    entry = load(EXAMPLE, ADAPTERS, {"INCS_TOKEN": "mine"}).adapters["incs"]
    assert entry.settings.tokens == (Secret("mine"),)


def test_example_holds_when_uncommented():
    """Every setting that is commented out is a valid one; sections show the defaults."""
    result = loads(uncommented(), ADAPTERS, {})
    assert set(result.adapters) == set(BUILT_IN)
    assert list(result.subscribers) == ["console", "shop", "files", "crm"]
    defaults = Settings()
    assert result.server == defaults.server
    tokens = {"token": None, "send_token": None, "tokens": {}, "readers": {}}
    assert attrs.evolve(result.admin, **tokens) == defaults.admin
    assert result.journal == defaults.journal
    on_nats = uncommented().replace('engine = "sqlite"', 'engine = "nats"')
    nats = loads(on_nats, ADAPTERS, {}).journal.own
    assert attrs.evolve(nats, credentials=None) == NatsSettings()
    on_postgres = uncommented().replace('engine = "sqlite"', 'engine = "postgres"')
    assert loads(on_postgres, ADAPTERS, {}).journal.own == PostgresSettings()
    assert result.log == defaults.log
    assert result.tracing == defaults.tracing
    assert result.delivery == defaults.delivery
    assert attrs.evolve(result.outbox, pause_for_agents=None) == defaults.outbox


def test_example_shows_every_setting():
    """Each field of each settings class stands in the example, commented out or not."""
    document = tomllib.loads(uncommented())
    tables = {
        ServerSettings: document["server"],
        AdminSettings: document["admin"],
        JournalSettings: document["journal"],
        NatsSettings: document["journal"]["nats"],
        PostgresSettings: document["journal"]["postgres"],
        LogSettings: document["log"],
        TracingSettings: document["tracing"],
        DeliverySettings: document["delivery"],
        OutboxSettings: document["outbox"],
        AdapterEntry: document["adapters"]["incs"],
        SubscriberEntry: {key for table in document["subscribers"].values() for key in table},
        **{built_in_settings(name): document["adapters"][name] for name in BUILT_IN},
    }
    incs = attrs.resolve_types(built_in_settings("incs"))
    (channel,) = get_args(attrs.fields(incs).channels.type)[:1]
    tables[channel] = document["adapters"]["incs"]["channels"][0]
    missing = {
        f"{cls.__name__}.{key}"
        for cls, table in tables.items()
        for key in keys_of(cls)
        if key not in table
    }
    assert missing == set()
    own = {field.name for field in attrs.fields(DeliverySettings)}
    assert own <= document["subscribers"]["crm"].keys()
    assert keys_of(Settings).keys() == document.keys()
