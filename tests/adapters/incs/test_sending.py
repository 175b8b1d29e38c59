"""What goes out over INCS, and what its answers mean."""

from __future__ import annotations

import json

import attrs
import pytest

from bridge.adapter import Accepted, Refused, Remedy
from bridge.adapter.fitting import parts
from bridge.adapters.incs import Channel, Incs, IncsSettings
from bridge.adapters.incs.capabilities import CHANNELS
from bridge.errors import ConfigurationError, Unsendable
from bridge.model import (
    ContactCard,
    ContactPhone,
    Contacts,
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
    TemplateParameter,
    Text,
)
from tests.adapters.sending import cases, message_of, outbound, response


def sender_for(*channels, **settings):
    return Incs("incs", IncsSettings(insecure=True, channels=channels, **settings)).sender()


def channel(id_, kind, code="af92196e"):
    return Channel(id=id_, kind=kind, certification_code=code)


SENDER = sender_for(channel(30058, "whatsapp"), channel(30059, "rcs"), channel(30060, "viber"))
USER = {"phone": "+85268411234", "role": "user"}


def body_of(content, name, **fields):
    return json.loads(SENDER.compose(outbound(content, channel=name, **fields)).body)


@pytest.mark.parametrize("case", cases("incs"), ids=lambda case: case["name"])
def test_documented_requests(case):
    """Each documented kind of message is composed as INCS's documentation writes it."""
    request = SENDER.compose(message_of({"recipient": USER, **case}))
    assert (request.method, request.url) == ("POST", case["url"])
    assert request.headers == {
        "Content-Type": "application/json",
        "certification-code": "af92196e",
    }
    assert json.loads(request.body) == case["body"]
    assert request.repeatable is False


def test_each_channel_has_its_code_and_its_route():
    """The account of a message picks the channel, and so does a kind of which there is one."""
    sender = sender_for(
        channel(1, "whatsapp", "one"),
        channel(2, "whatsapp", "two"),
        channel(3, "viber", None),
        channel(4, "viber", "four"),
        base_url="http://127.0.0.1:1/",
    )
    request = sender.compose(outbound(Text(text="Hi"), account="2"))
    assert request.headers["certification-code"] == "two"
    assert request.url == "http://127.0.0.1:1/external/messages/whatsapp"
    request = sender.compose(outbound(Text(text="Hi"), channel="viber"))
    assert request.headers["certification-code"] == "four"
    with pytest.raises(Unsendable, match="2 that speak whatsapp"):
        sender.compose(outbound(Text(text="Hi")))
    with pytest.raises(Unsendable, match="0 that speak rcs"):
        sender.compose(outbound(Text(text="Hi"), channel="rcs", account="9"))


def test_a_channel_is_picked_by_its_account_and_by_its_number():
    """Events tell the account of the settings; those of before that setting, the number."""
    named = attrs.evolve(channel(1, "whatsapp", "one"), account="106540352242922")
    sender = sender_for(named, channel(2, "whatsapp", "two"))
    assert [route.account for route in sender.routes] == ["106540352242922", "2"]
    for account in ("106540352242922", "1"):
        request = sender.compose(outbound(Text(text="Hi"), account=account))
        assert request.headers["certification-code"] == "one"


def test_sending_without_any_code_names_the_setting():
    """Without a certification code there is no sender, and the error names what is missing."""
    with pytest.raises(ConfigurationError) as caught:
        sender_for(channel(1, "viber", None))
    assert [problem.key for problem in caught.value.problems] == ["channels.certification_code"]


def test_no_repr_shows_the_code_or_what_is_said():
    """A request can be logged: neither its secrets nor its words are in its repr."""
    shown = repr(SENDER.compose(outbound(Text(text="PIN 4711"))))
    assert "af92196e" not in shown
    assert "4711" not in shown


# --- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "limit"), [("whatsapp", 4096), ("rcs", 3072), ("viber", 1000)])
def test_a_long_text_goes_in_parts(name, limit):
    """A text at the limit goes as it is, one beyond it in two messages that make it up."""
    (one,) = parts(outbound(Text(text="x" * limit), channel=name), CHANNELS[name])
    assert body_of(one.content, name)["text"] == "x" * limit
    words = "word " * (limit // 5) + "end"
    several = parts(outbound(Text(text=words), channel=name), CHANNELS[name])
    assert len(several) == 2
    assert "".join(body_of(part.content, name)["text"] for part in several) == words


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        (Reaction(message_id="a", emoji="👍"), "whatsapp", "no reactions"),
        (Receipt(message_id="a"), "whatsapp", "no receipts"),
        (Receipt(typing=True), "viber", "no receipts"),
        (Media(media=MediaKind.IMAGE, media_id="1"), "whatsapp", "needs a url"),
        (Template(name="hello"), "viber", "one template"),
        (Template(name="otp", language="en"), "viber", "code_expiration_minutes"),
        (
            Template(
                name="otp",
                parameters=(
                    TemplateParameter(name="code", value="1"),
                    TemplateParameter(name="code_expiration_minutes", value="3"),
                ),
            ),
            "viber",
            "its language",
        ),
        (
            Template(
                name="otp",
                language="en",
                parameters=(
                    TemplateParameter(name="code", value="1"),
                    TemplateParameter(name="code_expiration_minutes", value="soon"),
                ),
            ),
            "viber",
            "code_expiration_minutes",
        ),
        (Template(name="a", parameters=(TemplateParameter(value="1"),)), "rcs", "without a name"),
    ],
)
def test_what_cannot_be_carried_is_refused_in_words(content, name, reason):
    """A content that a channel of INCS cannot carry is refused, with the limit in words."""
    with pytest.raises(Unsendable, match=reason):
        body_of(content, name)


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (
            Media(media=MediaKind.AUDIO, url="https://e.com/a.mp3", caption="Listen"),
            "viber",
            "Listen\nhttps://e.com/a.mp3",
        ),
        (
            Media(media=MediaKind.DOCUMENT, url="https://e.com/a.zip", mime_type="application/zip"),
            "viber",
            "https://e.com/a.zip",
        ),
        (
            Media(media=MediaKind.DOCUMENT, url="https://e.com/a.doc", filename="a.doc"),
            "rcs",
            None,
        ),
        (
            Location(latitude=1.5, longitude=-2e-7, url="https://e.com/map"),
            "whatsapp",
            "https://e.com/map",
        ),
        (
            Contacts(contacts=(ContactCard(name="Al", phones=(ContactPhone(phone="+1"),)),)),
            "whatsapp",
            "Al\n+1",
        ),
        (
            Menu(
                "Pick",
                options=[
                    Option("1", "One", section="A"),
                    Option("2", "Call", phone="+1555"),
                    Option("3", "Three", section="B", description="the third"),
                ],
            ),
            "viber",
            "Pick\n\nA\n1. One\nCall: +1555\nB\n2. Three: the third",
        ),
    ],
)
def test_what_a_channel_does_not_offer_becomes_a_text(content, name, words):
    """Files of other kinds become links, places, people and menus become words."""
    told = body_of(content, name)
    if words is None:
        assert told["type"] == "document"
    else:
        assert (told["type"], told["text"]) == ("text", words)


def test_a_quotation_is_left_out_unless_that_is_refused():
    """INCS cannot quote: by default the message goes without, in strict mode it does not go."""
    message = outbound(Text(text="Hi"), reply_to="wamid.A")
    assert parts(message, CHANNELS["whatsapp"]) == (message,)
    with pytest.raises(Unsendable, match="quotation"):
        parts(message, CHANNELS["whatsapp"], strict=True)


def test_a_user_without_a_phone_cannot_be_reached():
    """INCS addresses phones only."""
    with pytest.raises(Unsendable, match="by their phone only"):
        body_of(Text(text="Hi"), "whatsapp", recipient=Party(user_id="US.1"))


def test_a_native_body_goes_as_it_is():
    """What a native body holds goes before what the sender would add."""
    assert body_of(Native({"type": "text", "text": "Hi", "to": "1"}), "rcs") == {
        "type": "text",
        "text": "Hi",
        "to": "1",
    }


# --- answers -------------------------------------------------------------------------------------

MESSAGE = outbound(Text(text="Hi"))


def failure(code, message="words", http=200, **more):
    told = {"status": "error", "code": code, "message": message, "data": {}, "error": {}}
    return response({**told, **more}, http)


def test_an_accepted_message_has_the_channel_s_id():
    """`msg_id` is the channel's own id; a success without one is a success all the same."""
    told = {"status": "success", "code": 200, "message": "", "data": {"msg_id": "wamid.A"}}
    assert SENDER.conclude(MESSAGE, response(told)) == Accepted(message_id="wamid.A")
    assert SENDER.conclude(MESSAGE, response({**told, "data": []})) == Accepted()


# https://document.infin8linx.com/books/incs-messages-api, "Error codes"
@pytest.mark.parametrize(
    ("code", "remedy", "in_doubt"),
    [
        (400, Remedy.MEND_MESSAGE, False),
        (404, Remedy.STOP_ACCOUNT, False),
        (422, Remedy.MEND_MESSAGE, False),
        (429, Remedy.SLOW_ACCOUNT, False),
        (500, Remedy.AGAIN, True),
        (10001, Remedy.STOP_ACCOUNT, False),
        (10002, Remedy.REFUSED, False),
        (10003, Remedy.REFUSED, False),
        (10004, Remedy.REFUSED, False),
        ("10004", Remedy.REFUSED, False),
    ],
)
@pytest.mark.parametrize("http", [200, 400, 500])
def test_every_documented_code_has_its_remedy(code, remedy, in_doubt, http):
    """Each code asks for what the table says, whatever the HTTP status."""
    concluded = SENDER.conclude(MESSAGE, failure(code, http=http))
    assert (concluded.remedy, concluded.in_doubt) == (remedy, in_doubt)
    assert concluded.error == ProviderError(code=str(code), title="words")


@pytest.mark.parametrize(
    "told",
    [
        {"message": "(#131047) Re-engagement message"},
        {"error": {"code": 131047, "message": "Re-engagement message"}},
        {"error": {"error": {"code": 131047}}},
    ],
)
def test_whatsapp_s_own_code_goes_before_incs_s(told):
    """Where INCS hands on what Meta said, Meta's code decides, however it is handed on."""
    concluded = SENDER.conclude(MESSAGE, failure(10002, **told))
    assert (concluded.remedy, concluded.error.code) == (Remedy.USE_TEMPLATE, "131047")
    unknown = SENDER.conclude(MESSAGE, failure(10002, "(#139999) Of tomorrow"))
    assert (unknown.remedy, unknown.error.code) == (Remedy.REFUSED, "139999")


@pytest.mark.parametrize(
    ("answer", "remedy", "in_doubt"),
    [
        (failure(777), Remedy.REFUSED, False),
        (failure(777, http=502), Remedy.AGAIN, True),
        (failure(777, http=422), Remedy.MEND_MESSAGE, False),
        (failure(777, http=404), Remedy.REFUSED, False),
        # One of HTTP's numbers means what HTTP says, as 404, 422, 429 and 500 do.
        (failure(401), Remedy.STOP_ACCOUNT, False),
        (failure(403), Remedy.STOP_ACCOUNT, False),
        (failure(405), Remedy.REFUSED, False),
        (failure(408), Remedy.AGAIN, False),
        (failure(413), Remedy.MEND_MESSAGE, False),
        (failure(502), Remedy.AGAIN, True),
        (failure(503), Remedy.AGAIN, False),
        (failure(504, http=500), Remedy.AGAIN, True),
        (failure(200), Remedy.AGAIN, True),
        (failure(None, http=429), Remedy.SLOW_ACCOUNT, False),
        (response({"message": "Unauthenticated."}, 401), Remedy.STOP_ACCOUNT, False),
        (response(b"<html>", 200), Remedy.AGAIN, True),
        (response(b"<html>", 502), Remedy.AGAIN, True),
        (response(b"", 302), Remedy.AGAIN, False),
        (response([], 200), Remedy.AGAIN, True),
    ],
)
def test_unusual_answers_have_their_outcome(answer, remedy, in_doubt):
    """Whatever comes back, there is something to do, and doubt is named where there is some."""
    concluded = SENDER.conclude(MESSAGE, answer)
    assert isinstance(concluded, Refused)
    assert (concluded.remedy, concluded.in_doubt) == (remedy, in_doubt)


def test_a_code_that_is_not_documented_is_told_with_its_words():
    """Whoever looks for the reason finds what INCS said."""
    concluded = SENDER.conclude(MESSAGE, failure(777))
    assert concluded.error == ProviderError(code="777", title="words")


def test_the_codes_of_statuses_have_their_remedies():
    """A status that fails tells the channel's code, or one of INCS's."""
    assert SENDER.remedy(ProviderError(code="131026")) is Remedy.UNREACHABLE
    assert SENDER.remedy(ProviderError(code="10001")) is Remedy.STOP_ACCOUNT
    assert SENDER.remedy(ProviderError(code="x")) is Remedy.REFUSED
