"""Whose callback one is, by whatever it names."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.adapter import Scope
from bridge.adapters.incs.channels import Channel, Channels
from bridge.errors import Unreadable
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


def test_a_channel_has_the_account_of_the_settings():
    """Whatever a callback names a channel by, its events are for the account that is given."""
    named = Channel(id=1, kind="whatsapp", business_phone="6281519236680", account="1065")
    channels = Channels((named,), "shop")
    for told in ({"channel_id": 1}, {"business_phone": "6281519236680"}):
        assert channels.scope(BODY, RECEIVED_AT, **told).account == "1065"
    for other in (
        attrs.evolve(named, id=2, kind="viber"),
        Channel(id=1065, kind="rcs"),
        Channel(id=1065, kind="rcs", account="shop@rbm.goog"),
    ):
        for both in ((named, other), (other, named)):
            (problem,) = Channels(both).problems
            assert problem.key == "channels[1].account"
            assert problem.message == "given to two channels, or the id of another one"


def test_a_callback_that_names_nothing_is_nobodys(channels):
    """Without any name the scope tells the source and the time, and INCS as the channel."""
    assert channels.scope(BODY, RECEIVED_AT) == scope(channel="incs")


def test_one_is_not_true(channels):
    """A channel's number is told from `true`, though Python takes them for equal."""
    assert channels.scope(BODY, RECEIVED_AT, channel_id=1).account == "1"
    assert channels.scope(BODY, RECEIVED_AT, channel_id=True).account is None
    assert channels.scope(BODY, RECEIVED_AT, channel_id=1).account == "1"


@pytest.mark.parametrize(
    "told",
    [{"channel_id": 2}, {"business_phone": "6281500000000"}, {"agent_id": "other@rbm.goog"}],
)
def test_a_stranger_is_nobodys_account(channels, told):
    """A channel that is not among the configured ones is refused; without any, each is taken."""
    for _ in range(2):  # also when it is remembered
        with pytest.raises(Unreadable, match="not among the configured ones"):
            channels.scope(BODY, RECEIVED_AT, **told)
    assert Channels(()).scope(BODY, RECEIVED_AT, **told).account is not None
    told.pop("agent_id", None)
    assert channels.outer_scope(BODY, RECEIVED_AT, **told) == scope(channel="incs")


def test_names_that_the_settings_do_not_tell_are_taken():
    """Where no channel has a phone or an agent in the settings, none of them is a stranger."""
    channels = Channels(CHANNELS[:1])
    assert channels.scope(BODY, RECEIVED_AT, business_phone="6281500000000").account is not None
    assert channels.scope(BODY, RECEIVED_AT, agent_id="other@rbm.goog").account is not None


def test_what_is_remembered_is_bounded():
    """However many names come from outside, and however long, few and short ones are kept."""
    channels = Channels((), "shop")
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

    def find(channels: Channels) -> Scope | str:
        try:
            return channels.scope(BODY, RECEIVED_AT, evidence=evidence, **told)
        except Unreadable as error:
            return error.reason

    fresh = find(Channels(CHANNELS, "shop"))
    for _ in range(2):
        assert find(_LASTING) == fresh


_LASTING = Channels(CHANNELS, "shop")
