"""Whose callback one is, by whatever it names."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.adapter import Scope
from bridge.adapters.incs.channels import Channel, Channels
from bridge.adapters.whatsapp.value import narrow
from bridge.model import Party, Role
from tests.adapters.laws import json_values

RECEIVED_AT = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)
CHANNELS = (
    Channel(id=1, kind="viber"),
    Channel(id=30058, kind="whatsapp", business_phone="6281519236680"),
    Channel(id=30060, kind="rcs", agent_id="shop_agent@rbm.goog"),
)
_names = st.sampled_from(
    [
        None,
        "",
        0,
        1,
        "1",
        True,
        1.0,
        30058,
        "30058",
        "6281519236680",
        "shop_agent@rbm.goog",
        "9" * 99,
    ]
)
names = _names | json_values


@pytest.fixture
def channels() -> Channels:
    return Channels(CHANNELS, "shop")


BODY = {"event": "message_created"}


def scope(business_phone=None, **fields) -> Scope:
    business = Party(phone=business_phone, role=Role.BUSINESS)
    return Scope(
        source="shop",
        received_at=RECEIVED_AT,
        business=business,
        body=BODY,
        narrow=narrow,
        **fields,
    )


def test_a_channel_is_found_by_each_of_its_names(channels):
    """INCS's number, the business's phone and an agent's id lead to the account of the settings."""
    whatsapp = scope(channel="whatsapp", account="30058", business_phone="+6281519236680")
    assert channels.scope(BODY, RECEIVED_AT, channel_id=30058) == whatsapp
    assert channels.scope(BODY, RECEIVED_AT, business_phone="6281519236680") == whatsapp
    assert channels.scope(BODY, RECEIVED_AT, agent_id="shop_agent@rbm.goog") == scope(
        channel="rcs", account="30060"
    )


def test_a_callback_that_names_nothing_is_nobodys(channels):
    """Without any name the scope tells the source and the time, and INCS as the channel."""
    assert channels.scope(BODY, RECEIVED_AT) == scope(channel="incs")


def test_one_is_not_true(channels):
    """A channel's number is told from `true`, though Python takes them for equal."""
    assert channels.scope(BODY, RECEIVED_AT, channel_id=1).account == "1"
    assert channels.scope(BODY, RECEIVED_AT, channel_id=True).account is None
    assert channels.scope(BODY, RECEIVED_AT, channel_id=1).account == "1"


def test_what_is_remembered_is_bounded(channels):
    """However many names come from outside, and however long, few and short ones are kept."""
    for number in range(1000):
        channels.scope(BODY, RECEIVED_AT, channel_id=number)
    kept = channels._remembered.cache_info()
    channels.scope(BODY, RECEIVED_AT, agent_id="a" * 100_000)
    assert channels.scope(BODY, RECEIVED_AT, agent_id="a" * 100_000).account == "a" * 100_000
    assert kept.currsize == kept.maxsize < 1000
    assert channels._remembered.cache_info() == kept._replace(misses=kept.misses + 2)


@settings(deadline=None)
@given(st.sampled_from([None, "whatsapp", "rcs"]), names, names, names)
def test_what_is_remembered_is_what_would_be_found(evidence, channel_id, business_phone, agent_id):
    """A scope that is remembered is the one that is found without a memory, for any names."""
    told = {"channel_id": channel_id, "business_phone": business_phone, "agent_id": agent_id}
    fresh = Channels(CHANNELS, "shop").scope(BODY, RECEIVED_AT, evidence=evidence, **told)
    for _ in range(2):
        assert _LASTING.scope(BODY, RECEIVED_AT, evidence=evidence, **told) == fresh


_LASTING = Channels(CHANNELS, "shop")
