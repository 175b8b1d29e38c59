"""What a provider says of credentials is understood, whatever it says."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.adapter import Accepted, Refused, Remedy, Response, ServiceAccount
from bridge.adapters.rcs.sending import RcsSender
from tests.bridge.outbox.providers import ADAPTERS

SENDERS = {name: make("http://127.0.0.1:9").sender() for name, make in ADAPTERS.items()}
BODIES = st.one_of(
    st.binary(max_size=50),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=5),
        lambda inner: st.dictionaries(
            st.sampled_from(("id", "error", "code", "status", "message")), inner
        ),
        max_leaves=6,
    ).map(orjson.dumps),
)


@pytest.mark.parametrize("name", SENDERS)
@given(status=st.integers(100, 599), body=BODIES)
def test_every_response_has_a_meaning(name, status, body):
    """It never raises, and a success is one only with the provider's own words."""
    outcome = SENDERS[name].judge(Response(status=status, body=body))
    assert isinstance(outcome, Accepted | Refused)


@pytest.mark.parametrize("name", SENDERS)
@pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b"[1]"])
def test_a_success_that_says_nothing_is_none(name, body):
    """A proxy's page with 200 confirms no credentials."""
    assert isinstance(SENDERS[name].judge(Response(status=200, body=body)), Refused)


def test_meta_is_asked_for_the_number():
    """Reading the number takes the same permission as sending from it, and changes nothing.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/reference/whatsapp-business-phone-number/whatsapp-business-account-phone-number-api
    """
    (probe,) = SENDERS["whatsapp"].probes()
    assert (probe.setting, probe.account) == ("access_token", "106540352242922")
    assert probe.request.method == "GET"
    assert probe.request.url == "http://127.0.0.1:9/v26.0/106540352242922?fields=id"
    told = Response(body=b'{"id":"106540352242922"}')
    assert SENDERS["whatsapp"].judge(told) == Accepted()


@pytest.mark.parametrize(
    ("code", "remedy"),
    [(10001, Remedy.STOP_ACCOUNT), (422, None), (500, Remedy.AGAIN), (429, Remedy.SLOW_ACCOUNT)],
)
def test_incs_refuses_the_code_or_the_message(code, remedy):
    """10001 is about the code; whoever gets 422 for a message to nobody has a valid one.

    https://document.infin8linx.com/books/incs-messages-api
    """
    body = orjson.dumps({"status": "error", "code": code, "message": "", "data": {}, "error": {}})
    outcome = SENDERS["incs"].judge(Response(body=body))
    assert getattr(outcome, "remedy", None) is remedy


def test_incs_gets_a_message_to_nobody_with_each_code():
    """One for each channel that has a code, and there is nothing in it that could be sent."""
    probes = SENDERS["incs"].probes()
    assert [probe.account for probe in probes] == ["30058", "30059", "30060"]
    assert {probe.request.body for probe in probes} == {b"{}"}
    assert [probe.request.headers["certification-code"] for probe in probes] == ["w", "r", "v"]


def test_google_is_asked_for_a_token():
    """The service account's own; a sender without one has nothing to ask."""
    (probe,) = SENDERS["rcs"].probes()
    assert isinstance(probe.request, ServiceAccount)
    assert RcsSender(account=None).probes() == ()
