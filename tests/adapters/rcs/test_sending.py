"""What goes out over RCS for Business, and what its answers mean."""

from __future__ import annotations

import json

import pytest

from bridge.adapter import Accepted, Refused, Remedy
from bridge.adapter.fitting import parts
from bridge.adapters.rcs import Rcs, RcsSettings
from bridge.adapters.rcs.capabilities import CAPABILITIES
from bridge.adapters.rcs.simulated import SimulatedRcs
from bridge.errors import ConfigurationError, Unsendable
from bridge.model import (
    Carousel,
    Contacts,
    Deletion,
    Location,
    Media,
    MediaKind,
    Menu,
    Native,
    Option,
    Party,
    ProviderError,
    Reaction,
    Receipt,
    Template,
    Text,
)
from tests.adapters.cases import RECEIVED_AT
from tests.adapters.sending import OURS, cases, message_of, outbound, response

KEY = json.dumps(
    {
        "type": "service_account",
        "client_email": "agent@project.iam.gserviceaccount.com",
        "private_key": "-----BEGIN PRIVATE KEY-----",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
)


def sender_with(**settings):
    settings = {"agent_id": "example_agent", **settings}
    return Rcs("rcs", RcsSettings(insecure=True, service_account=KEY, **settings)).sender()


SENDER = sender_with()
USER = {"phone": "+12223334444", "role": "user"}


def compose(content, sender=SENDER, **fields):
    return sender.compose(outbound(content, channel="rcs", **fields))


def body_of(content, **fields):
    return json.loads(compose(content, **fields).body)


@pytest.mark.parametrize("case", cases("rcs"), ids=lambda case: case["name"])
def test_documented_requests(case):
    """Each documented kind of message is composed as Google's documentation writes it."""
    request = SENDER.compose(message_of({"recipient": USER, **case}, channel="rcs"))
    assert (request.method, request.url) == (case.get("method", "POST"), case["url"])
    assert request.headers == {"Content-Type": "application/json"}
    assert (json.loads(request.body) if request.body else None) == case["body"]
    assert request.repeatable is True
    assert request.authorization.scope == "https://www.googleapis.com/auth/rcsbusinessmessaging"


def test_no_repr_shows_the_key_or_the_user():
    """A request can be logged: the key is not in its repr, and the phone is masked."""
    shown = repr(compose(Text(text="PIN 4711")))
    assert "PRIVATE KEY" not in shown
    assert "4711" not in shown
    assert "16505551234" not in shown


@pytest.mark.parametrize(
    ("key", "found"),
    [
        (None, "missing"),
        ("", "missing"),
        ("{", "no client_email and no private_key and no token_uri"),
        ('{"client_email": "a", "token_uri": "b"}', "no private_key"),
    ],
)
def test_sending_without_a_key_names_the_setting(key, found):
    """What is no key of a service account is told with the setting's name, and not shown."""
    with pytest.raises(ConfigurationError, match=found) as caught:
        Rcs("rcs", RcsSettings(insecure=True, service_account=key)).sender()
    assert [problem.key for problem in caught.value.problems] == ["service_account"]


def test_settings_decide_what_the_message_does_not():
    """The agent, the traffic type, the time to live and the address come from the settings."""
    sender = sender_with(
        agent_id="mine",
        traffic_type="TRANSACTION",
        ttl=30.5,
        base_url="https://europe-rcsbusinessmessaging.googleapis.com/",
    )
    request = compose(Text(text="Hi"), sender)
    assert request.url.startswith("https://europe-rcsbusinessmessaging.googleapis.com/v1/phones/")
    assert "agentId=mine&" in request.url
    assert json.loads(request.body) == {
        "messageTrafficType": "TRANSACTION",
        "ttl": "30.5s",
        "contentMessage": {"text": "Hi"},
    }
    assert "agentId=yours&" in compose(Text(text="Hi"), sender, account="yours").url


@pytest.mark.parametrize("agent_id", ["shop_agent", "shop_agent@rbm.goog"])
def test_an_agent_is_called_as_in_callbacks(agent_id):
    """What goes out is of the account that answers come for; a request has the agent's own id."""
    sender = sender_with(agent_id=agent_id)
    (route,) = sender.routes
    answered = SimulatedRcs(agent="shop_agent").say("12223334444", Text(text="Hi"), RECEIVED_AT)
    assert (route.account, route.name) == ("shop_agent@rbm.goog", "shop_agent")
    assert answered["agentId"] == route.account
    assert "agentId=shop_agent&" in compose(Text(text="Hi"), sender, account=route.account).url


@pytest.mark.parametrize(
    ("given", "told"),
    [(10.0, "10s"), (0.25, "0.25s"), (-1.0, "0s"), (1296000.0, "1296000s"), (1e9, "1296000s")],
)
def test_a_message_says_for_how_long_it_is_worth_delivering(given, told):
    """The time to live of one message goes before the settings', and is at most 15 days."""
    message = outbound(Text(text="Hi"), channel="rcs")
    request = sender_with(ttl=60.0).compose(message, ttl=given)
    assert json.loads(request.body)["ttl"] == told
    native = outbound(Native({"contentMessage": {}, "expireTime": "x"}), channel="rcs")
    assert "ttl" not in json.loads(SENDER.compose(native, ttl=given).body)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (Text(text="x" * 3073), "2 messages"),
        (Media(media=MediaKind.IMAGE, url="https://e.com/a", caption="c" * 2001), "2 messages"),
        (Reaction(message_id="a", emoji="👍"), "no reactions"),
        (Template(name="a", language="en"), "no templates"),
        (Receipt(message_id="a", typing=True), "2 messages"),
        (Receipt(), "says nothing"),
        (Contacts(contacts=()), "no contact"),
        (Carousel([Menu("", options=[]), Menu("a", options=[])]), "a text without words"),
        (
            Native({"contentMessage": {"text": "x" * 250_000}}),
            "bytes of JSON, and 250000 are possible",
        ),
    ],
)
def test_what_cannot_be_carried_is_refused_in_words(content, reason):
    """A content that one message cannot carry is refused, with the limit in words."""
    with pytest.raises(Unsendable, match=reason):
        compose(content)


def test_a_receipt_goes_in_two_events():
    """Read and typing are two events of Google's, each with an id of its own."""
    message = outbound(Receipt(message_id="a", typing=True), channel="rcs")
    read, typing = parts(message, CAPABILITIES)
    assert json.loads(SENDER.compose(read).body) == {"eventType": "READ", "messageId": "a"}
    assert json.loads(SENDER.compose(typing).body) == {"eventType": "IS_TYPING"}
    assert read.message_id == OURS
    assert typing.message_id != OURS


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"recipient": Party(user_id="x")}, "by their phone only"),
        ({"recipient": Party(phone="+628XXXX")}, "by their phone only"),
    ],
)
def test_who_cannot_be_addressed_is_refused(fields, reason):
    """A user needs a phone, an id must be a UUID, and an agent must be known."""
    with pytest.raises(Unsendable, match=reason):
        compose(Text(text="Hi"), **fields)
    with pytest.raises(Unsendable, match="no agent"):
        compose(Text(text="Hi"), sender_with(agent_id=None))
    with pytest.raises(Unsendable, match="no UUID"):
        SENDER.compose(message_of({"content": {"kind": "text", "text": "a"}}, message_id="a"))


def test_a_place_goes_as_a_text_with_a_link():
    """RCS has no message that is a place: its name, address and a link to a map are sent."""
    place = Location(latitude=-6.2, longitude=106.8, name="Monas", address="Jakarta")
    assert body_of(place) == {
        "contentMessage": {
            "text": "Monas\nJakarta\nhttps://www.google.com/maps/search/?api=1&query=-6.2%2C106.8"
        }
    }


@pytest.mark.parametrize(
    ("menu", "found"),
    [
        ({"options": [Option(str(n), str(n)) for n in range(11)]}, "suggestions"),
        ({"options": [Option(str(n), str(n)) for n in range(12)]}, None),
        ({"options": [Option("1", "x" * 25)]}, "suggestions"),
        ({"options": [Option("1", "x" * 26)]}, None),
        ({"options": [Option("p" * 2048, "One")]}, "suggestions"),
        ({"options": [Option("p" * 2049, "One")]}, None),
        ({"options": [Option("p" * 2049, "Go", url="https://e.com")]}, None),
        ({"text": "x" * 3072}, "suggestions"),
        ({"header": "h" * 200}, "richCard"),
        ({"header": "h" * 201}, "suggestions"),
        ({"footer": "f"}, "suggestions"),
        ({"header": "h", "text": "x" * 2000}, "richCard"),
        ({"header": "h", "text": "x" * 2001}, "suggestions"),
    ],
)
def test_a_menu_takes_the_form_that_it_fits(menu, found):
    """Suggestions first, a rich card for what has a header, numbered text beyond the limits."""
    told = body_of(Menu(**{"text": "Pick", "options": [Option("1", "One")], **menu}))
    content = told["contentMessage"]
    if found is None:
        assert list(content) == ["text"]
        assert content["text"].startswith("Pick\n\n")
    else:
        assert found in content


# --- answers -------------------------------------------------------------------------------------

MESSAGE = outbound(Text(text="Hi"), channel="rcs")


def error(status, http, **more):
    return response({"error": {"code": http, "message": "words", "status": status, **more}}, http)


def test_a_link_without_an_id_has_its_title_for_one():
    """Google wants data of each suggestion, and only a reply has to have an id."""
    told = body_of(Menu("Pick", options=[Option("", "Open", url="https://e.com")]))
    (open_it,) = told["contentMessage"]["suggestions"]
    assert open_it["action"]["postbackData"] == "Open"


def test_an_accepted_message_keeps_our_id():
    """Google takes the id that we choose."""
    name = f"phones/+12223334444/agentMessages/{OURS}"
    assert SENDER.conclude(MESSAGE, response({"name": name})) == Accepted(message_id=OURS)
    assert SENDER.conclude(MESSAGE, error("ALREADY_EXISTS", 409)) == Accepted(message_id=OURS)
    assert SENDER.conclude(MESSAGE, response({"error": {"code": 409}}, 409)) == Accepted(
        message_id=OURS
    )


def test_events_and_revocations_have_no_message_of_their_own():
    """What is no message is accepted without an id."""
    for content in (Receipt(typing=True), Deletion(message_id="a")):
        assert SENDER.conclude(outbound(content, channel="rcs"), response({})) == Accepted()


# https://developers.google.com/business-communications/rcs-business-messaging/guides/build/messages/send
# https://cloud.google.com/apis/design/errors#handling_errors
@pytest.mark.parametrize(
    ("status", "http", "remedy"),
    [
        ("NOT_FOUND", 404, Remedy.UNREACHABLE),
        ("INVALID_ARGUMENT", 400, Remedy.MEND_MESSAGE),
        ("FAILED_PRECONDITION", 400, Remedy.MEND_MESSAGE),
        ("OUT_OF_RANGE", 400, Remedy.MEND_MESSAGE),
        ("UNAUTHENTICATED", 401, Remedy.STOP_ACCOUNT),
        ("PERMISSION_DENIED", 403, Remedy.STOP_ACCOUNT),
        ("RESOURCE_EXHAUSTED", 429, Remedy.SLOW_ACCOUNT),
        ("ABORTED", 409, Remedy.AGAIN),
        ("CANCELLED", 499, Remedy.AGAIN),
        ("INTERNAL", 500, Remedy.AGAIN),
        ("UNKNOWN", 500, Remedy.AGAIN),
        ("UNAVAILABLE", 503, Remedy.AGAIN),
        ("DEADLINE_EXCEEDED", 504, Remedy.AGAIN),
    ],
)
def test_every_documented_status_has_its_remedy(status, http, remedy):
    """Each status asks for what the table says, by its word, or by its number alone."""
    concluded = SENDER.conclude(MESSAGE, error(status, http))
    assert (concluded.remedy, concluded.error.code) == (remedy, status)
    assert SENDER.remedy(ProviderError(code=status)) is remedy
    if http in (400, 401, 403, 404, 429, 500, 503, 504):
        bare = SENDER.conclude(MESSAGE, response({"error": {"code": http}}, http))
        assert bare.remedy is remedy


def test_what_cannot_be_revoked_says_nothing_about_the_user():
    """A revocation of a message that is not there does not make the user unreachable."""
    deletion = outbound(Deletion(message_id="a"), channel="rcs")
    assert SENDER.conclude(deletion, error("NOT_FOUND", 404)).remedy is Remedy.REFUSED


def test_the_pause_that_is_asked_for_is_told():
    """`RetryInfo` in the details goes before the header."""
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3.5s"}
    told = error("RESOURCE_EXHAUSTED", 429, details=["x", {"a": 1}, info])
    assert SENDER.conclude(MESSAGE, told).retry_after == 3.5
    told = response({"error": {"status": "UNAVAILABLE"}}, 503, Retry_After="9")
    assert SENDER.conclude(MESSAGE, told).retry_after == 9.0


@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        (error("TOMORROW", 400), Remedy.MEND_MESSAGE),
        (error("TOMORROW", 500), Remedy.AGAIN),
        # It is Google that answers, so that the address is right: this message alone is refused.
        (error("TOMORROW", 404), Remedy.REFUSED),
        (error("TOMORROW", 200), Remedy.REFUSED),
        (response({"error": "x"}, 500), Remedy.AGAIN),
        (response({"error": {}}, 200), Remedy.AGAIN),
        (response(b"<html>404</html>", 404), Remedy.STOP_ACCOUNT),
        (response(b"", 200), Remedy.AGAIN),
        (response({}, 500), Remedy.AGAIN),
        (response(b"", 302), Remedy.AGAIN),
    ],
)
def test_unusual_answers_have_their_outcome(answer, remedy):
    """Whatever comes back, there is something to do."""
    concluded = SENDER.conclude(MESSAGE, answer)
    assert isinstance(concluded, Refused)
    assert concluded.remedy is remedy


def test_an_error_that_nobody_documented_is_refused():
    """A status that fails with an unknown code is final, and says that nothing is known."""
    assert SENDER.remedy(ProviderError(code="TOMORROW")) is Remedy.REFUSED
    assert SENDER.remedy(ProviderError()) is Remedy.REFUSED
