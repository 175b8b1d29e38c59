"""What goes out over the WhatsApp Cloud API, and what its answers mean."""

from __future__ import annotations

import json

import pytest

from bridge.adapter import Accepted, Refused, Remedy
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.errors import ConfigurationError, Unsendable
from bridge.model import (
    Carousel,
    Choice,
    ChoiceSource,
    ContactCard,
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

NUMBER = "106540352242922"
SENDER = WhatsApp(
    "whatsapp",
    WhatsAppSettings(insecure=True, access_token="EAAJB", phone_number_id=NUMBER),
).sender()
PICTURE = Media(media=MediaKind.IMAGE, url="https://example.com/a.png")


def body_of(content, **fields):
    return json.loads(SENDER.compose(outbound(content, **fields)).body)


@pytest.mark.parametrize("case", cases("whatsapp"), ids=lambda case: case["name"])
def test_documented_requests(case):
    """Each documented kind of message is composed as Meta's documentation writes it."""
    request = SENDER.compose(message_of(case))
    assert (request.method, request.url) == ("POST", case["url"])
    assert request.headers == {
        "Authorization": "Bearer EAAJB",
        "Content-Type": "application/json",
    }
    assert json.loads(request.body) == case["body"]
    assert request.repeatable is case.get("repeatable", False)
    assert request.authorization is None


def test_the_message_says_which_number_it_goes_out_from():
    """The account of a message goes before the settings' number."""
    request = SENDER.compose(outbound(Text(text="Hi"), account="7"))
    assert request.url == "https://graph.facebook.com/v26.0/7/messages"


def test_the_address_can_be_set():
    """A base URL of the settings takes the place of Meta's."""
    settings = WhatsAppSettings(
        insecure=True, access_token="x", phone_number_id="7", base_url="http://127.0.0.1:1/v26.0/"
    )
    request = WhatsApp("whatsapp", settings).sender().compose(outbound(Text(text="Hi")))
    assert request.url == "http://127.0.0.1:1/v26.0/7/messages"


def test_no_repr_shows_the_token_or_what_is_said():
    """A request can be logged: neither its secrets nor its words are in its repr."""
    shown = repr(SENDER.compose(outbound(Text(text="PIN 4711"))))
    assert "EAAJB" not in shown
    assert "4711" not in shown


def test_sending_without_a_token_names_the_setting():
    """Without an access token there is no sender, and the error names what is missing."""
    with pytest.raises(ConfigurationError) as caught:
        WhatsApp("whatsapp", WhatsAppSettings(insecure=True)).sender()
    assert [problem.key for problem in caught.value.problems] == ["access_token"]


def test_sending_without_a_number_names_the_setting():
    """Without a phone number id from anywhere the message is refused with the setting's name."""
    sender = WhatsApp("w", WhatsAppSettings(insecure=True, access_token="x")).sender()
    with pytest.raises(Unsendable, match="phone_number_id"):
        sender.compose(outbound(Text(text="Hi")))


# --- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("menu", "kind"),
    [
        ({"options": [Option("1", "x" * 20)]}, "button"),
        ({"options": [Option("1", "x" * 21)]}, "list"),
        ({"options": [Option("1", "x" * 24)]}, "list"),
        ({"options": [Option("1", "x" * 25)]}, "text"),
        ({"options": [Option("i" * 256, "One")]}, "button"),
        ({"options": [Option("i" * 257, "One")]}, "text"),
        ({"options": [Option("i" * 200, "x" * 21)]}, "list"),
        ({"options": [Option("i" * 201, "x" * 21)]}, "text"),
        ({"options": [Option("1", "One", description="d" * 72)]}, "list"),
        ({"options": [Option(str(n), str(n)) for n in range(3)]}, "button"),
        ({"options": [Option(str(n), str(n)) for n in range(4)]}, "list"),
        ({"options": [Option(str(n), str(n)) for n in range(10)]}, "list"),
        ({"options": [Option(str(n), str(n)) for n in range(11)]}, "text"),
        ({"options": [Option("1", "Same"), Option("2", "Same")]}, "list"),
        ({"text": "x" * 1024}, "button"),
        ({"text": "x" * 1025}, "list"),
        ({"text": "x" * 4096}, "list"),
        ({"header": "h" * 60, "footer": "f" * 60}, "button"),
        ({"button": "b" * 20, "options": [Option(str(n), str(n)) for n in range(4)]}, "list"),
        ({"button": "b" * 21, "options": [Option(str(n), str(n)) for n in range(4)]}, "list"),
        ({"options": [Option("1", "Go", url="https://example.com")]}, "cta_url"),
        ({"options": [Option("1", "x" * 21, url="https://example.com")]}, "text"),
        ({"options": [Option("1", "Go", url="https://e.com"), Option("2", "No")]}, "text"),
        ({"options": [Option("1", "Call", phone="+1555")]}, "text"),
        (
            {"options": [Option(str(n), str(n), section=str(n)) for n in range(10)]},
            "list",
        ),
        ({"options": [Option("1", "One", section="s" * 24)]}, "list"),
        ({"options": [Option("1", "One", section="s" * 25)]}, "button"),
        ({"options": [Option("1", "One", section="A"), Option("2", "Two")]}, "button"),
    ],
)
def test_a_menu_takes_the_form_that_it_fits(menu, kind):
    """Reply buttons first, then a list, a link button, and numbered text beyond their limits."""
    told = body_of(Menu(**{"text": "Pick", "options": [Option("1", "One")], **menu}))
    assert told.get("interactive", {}).get("type", told["type"]) == kind


def test_what_a_form_does_not_show_moves_into_the_text():
    """What is too long, a header beside a file, and notes go into the body."""
    menu = Menu(
        "Pick",
        header="h" * 61,
        footer="f" * 61,
        options=[Option("1", "One", description="d" * 73), Option("2", "Two")],
    )
    interactive = body_of(menu)["interactive"]
    assert interactive["type"] == "button"
    assert "header" not in interactive
    assert "footer" not in interactive
    assert interactive["body"]["text"] == "\n\n".join(
        ["h" * 61, "Pick", "One: " + "d" * 73, "f" * 61]
    )
    many = [Option(str(n), str(n)) for n in range(4)]
    listed = body_of(Menu("Pick", button="b" * 21, options=many))["interactive"]
    assert listed["body"]["text"] == "Pick\n\n" + "b" * 21
    assert listed["action"]["button"] == "Options"
    beside = body_of(Menu("Pick", header="Top", media=PICTURE, options=[Option("1", "One")]))
    assert beside["interactive"]["header"] == {"type": "image", "image": {"link": PICTURE.url}}
    assert beside["interactive"]["body"]["text"] == "Top\n\nPick"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (Text(text=" \n"), "a text without words"),
        (Text(text="x" * 4097), "2 messages"),
        (Text(text="half \ud800"), "does not fit into JSON"),
        (Media(media=MediaKind.IMAGE), "without a url or a media_id"),
        (Media(media=MediaKind.IMAGE, url="ftp://example.com/a"), "not http or https"),
        (Media(media=MediaKind.IMAGE, url="https://example.com/a b"), "spaces"),
        (Media(media=MediaKind.IMAGE, url="https://e.com/" + "a" * 2048), "2048"),
        (Media(media=MediaKind.IMAGE, url=PICTURE.url, caption="c" * 1025), "2 messages"),
        (Location(latitude=90.1, longitude=0.0), "90 degrees"),
        (Location(latitude=float("nan"), longitude=0.0), "90 degrees"),
        (Contacts(contacts=()), "no contact"),
        (Contacts(contacts=(ContactCard(),)), "without a name"),
        (Contacts(contacts=(ContactCard(name="A"),) * 258), "2 messages"),
        (Menu("Pick", options=[]), "without options"),
        (Menu(" ", options=[Option("1", "One", phone="12a")]), "digits"),
        (Menu("Pick", options=[Option("1", " ")]), "without a title"),
        (Menu("Pick", options=[Option("", "One")]), "without an id"),
        (Menu("Pick", options=[Option(" 1", "One")]), "spaces at its ends"),
        (Menu("Pick", options=[Option("1", "One"), Option("1", "Two")]), "two options of one id"),
        (Menu("Pick", options=[Option("1", "A", url="https://e.com", phone="1")]), "as well"),
        (Reaction(message_id=""), "without the message"),
        (Receipt(), "says nothing"),
        (Receipt(typing=True), "with the message that was read"),
        (Template(language="en"), "without a name"),
        (Template(name="a"), "without its language"),
        (Choice(source=ChoiceSource.BUTTON, id="a"), "not for sending"),
        (Native({"type": "text", "text": {"body": 1 << 70}}), "does not fit into JSON"),
        (Native([]), "a JSON object"),
        (Carousel([]), "without cards"),
        (Carousel([Menu("One", options=[Option("1", "Buy")])] * 2, text="x"), "3 messages"),
    ],
)
def test_what_cannot_be_carried_is_refused_in_words(content, reason):
    """A content that one message cannot carry is refused, with the limit in words."""
    with pytest.raises(Unsendable, match=reason):
        SENDER.compose(outbound(content))


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ((TemplateParameter(name="a", value="1"), TemplateParameter(value="2")), "not both"),
        ((TemplateParameter(),), "without a value"),
        ((TemplateParameter(type="currency", value="1"),), "of type currency"),
        ((TemplateParameter(component="button", value="1"),), "sub_type or index"),
        ((TemplateParameter(component="button", type="x", index=0, value="1"),), "sub_type"),
    ],
)
def test_a_template_that_is_filled_in_wrongly_is_refused(parameters, reason):
    """Parameters that Meta would refuse are refused before anything is sent."""
    with pytest.raises(Unsendable, match=reason):
        body_of(Template(name="a", language="en", parameters=parameters))


def test_who_cannot_be_addressed_is_refused():
    """A user needs a phone or a user id, a group its id, an authentication template a phone."""
    with pytest.raises(Unsendable, match="phone or a user_id"):
        body_of(Text(text="Hi"), recipient=Party())
    hidden = Party(user_id="US.1")
    template = Template(name="a", language="en", category="AUTHENTICATION")
    with pytest.raises(Unsendable, match="authentication"):
        body_of(template, recipient=hidden)
    with pytest.raises(Unsendable, match="Meta's id"):
        body_of(Text(text="Hi"), group="")


def test_a_menu_for_a_group_is_a_numbered_text():
    """Groups take no interactive messages, and their members answer with a number."""
    menu = Menu("Pick", options=[Option("1", "One"), Option("2", "Two")])
    told = body_of(menu, group="G")
    assert (told["recipient_type"], told["to"], told["type"]) == ("group", "G", "text")
    assert told["text"] == {"body": "Pick\n\n1. One\n2. Two"}


def test_a_native_body_says_for_itself_whom_it_is_for():
    """What a native body holds goes before what the sender would add."""
    told = body_of(Native({"type": "text", "text": {"body": "Hi"}, "to": "+1"}), recipient=Party())
    assert told["to"] == "+1"
    read = body_of(Native({"status": "read", "message_id": "wamid.A"}))
    assert read == {"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.A"}


def test_a_large_picture_goes_as_a_document():
    """A file beyond the limit of its kind goes as a document, up to the document's own limit."""
    large = Media(media=MediaKind.IMAGE, url=PICTURE.url, mime_type="image/png", size=5 * 2**20 + 1)
    assert body_of(large)["type"] == "document"
    webp = Media(media=MediaKind.IMAGE, url=PICTURE.url, mime_type="image/webp")
    assert body_of(webp)["type"] == "document"
    huge = Media(media=MediaKind.IMAGE, media_id="1", mime_type="image/png", size=101 * 2**20)
    with pytest.raises(Unsendable, match="5242880 are possible"):
        body_of(huge)


# --- answers -------------------------------------------------------------------------------------

MESSAGE = outbound(Text(text="Hi"))
ANSWER = {
    "messaging_product": "whatsapp",
    "contacts": [{"input": "+16505551234", "wa_id": "16505551234"}],
    "messages": [{"id": "wamid.HBgLMTY0NjcwNDM1OTUVAgARGBI1RjQyNUE3NEYxMzAzMzQ5MkEA"}],
}


def test_an_accepted_message_has_an_id():
    """Meta's id of the message is told, and the user as Meta knows them."""
    assert SENDER.conclude(MESSAGE, response(ANSWER)) == Accepted(
        message_id="wamid.HBgLMTY0NjcwNDM1OTUVAgARGBI1RjQyNUE3NEYxMzAzMzQ5MkEA",
        party=Party(phone="+16505551234"),
    )


def test_the_answer_teaches_who_the_user_is():
    """Another number than the one that was given, and the user's id, are told."""
    contacts = [{"input": "+5511987654321", "wa_id": "551187654321", "user_id": "BR.1"}]
    concluded = SENDER.conclude(MESSAGE, response({**ANSWER, "contacts": contacts}))
    assert concluded.party == Party(phone="+551187654321", user_id="BR.1")
    concluded = SENDER.conclude(MESSAGE, response({**ANSWER, "contacts": []}))
    assert concluded.party is None


@pytest.mark.parametrize("status", ["held_for_quality_assessment", "paused"])
def test_a_message_that_is_held_back_is_told(status):
    """A message that Meta accepts and keeps back is accepted and held."""
    held = [{"id": "wamid.A", "message_status": status}]
    concluded = SENDER.conclude(MESSAGE, response({**ANSWER, "messages": held}))
    assert (concluded.provider_status, concluded.held) == (status, True)


def test_a_receipt_is_accepted_without_an_id():
    """Marking as read is answered with `success` and nothing else."""
    receipt = outbound(Receipt(message_id="wamid.A"))
    assert SENDER.conclude(receipt, response({"success": True})) == Accepted()


def error(code, status=400, **more):
    told = {"message": "words", "type": "OAuthException", "code": code, "fbtrace_id": "Az8or2"}
    return response({"error": told | more}, status)


# https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes
# https://developers.facebook.com/docs/graph-api/guides/error-handling
# https://developers.facebook.com/docs/graph-api/overview/rate-limiting
REMEDIES = {
    Remedy.SLOW_ACCOUNT: [4, 17, 341, 613, 80007, 80008, 130429, 133016],
    Remedy.HOLD_CONVERSATION: [131056],
    Remedy.AGAIN: [1, 2, 131000, 131016, 131053, 131057],
    Remedy.STOP_ACCOUNT: [
        *(131048, 368, 131031, 131042, 131044, 131045, 130497, 0, 3, 10, 190, 131005, 131064),
        *(200, 230, 299, 33, 102, 131037, 133010),
    ],
    Remedy.USE_TEMPLATE: [131047],
    Remedy.OPTED_OUT: [131050],
    Remedy.NOT_TODAY: [131049, 130472],
    Remedy.MEND_TEMPLATE: [132000, 132001, 132005, 132007, 132012, 132015, 132016, 132068, 132069],
    Remedy.MEND_MESSAGE: [100, 131008, 131009, 131021, 131051, 131062, 137000],
    Remedy.UNREACHABLE: [131026, 131030],
}


@pytest.mark.parametrize(
    ("remedy", "code"), [(remedy, code) for remedy, codes in REMEDIES.items() for code in codes]
)
def test_every_documented_code_has_its_remedy(remedy, code):
    """Each code asks for what the table says, whether an answer or a status tells it."""
    concluded = SENDER.conclude(MESSAGE, error(code))
    assert (concluded.remedy, concluded.in_doubt) == (remedy, False)
    assert SENDER.remedy(ProviderError(code=str(code))) is remedy


def test_an_error_is_told_in_the_provider_s_words():
    """Code, message and details of an error are kept."""
    told = error(131009, error_data={"messaging_product": "whatsapp", "details": "Duplicate id"})
    assert SENDER.conclude(MESSAGE, told).error == ProviderError(
        code="131009", title="words", details="Duplicate id"
    )


@pytest.mark.parametrize(
    ("answer", "remedy", "in_doubt"),
    [
        # A code of tomorrow: the HTTP status decides.
        (error(139999, 400), Remedy.MEND_MESSAGE, False),
        (error(139999, 429), Remedy.SLOW_ACCOUNT, False),
        (error(139999, 403), Remedy.STOP_ACCOUNT, False),
        (error(139999, 500), Remedy.AGAIN, True),
        (error(139999, 400, is_transient=True), Remedy.AGAIN, False),
        (error(139999, 200), Remedy.REFUSED, False),
        (error("x", 200), Remedy.REFUSED, False),
        (response({"error": {}}, 200), Remedy.AGAIN, True),
        # It is Meta that answers, so that the address is right: this message alone is refused.
        (error(139999, 404), Remedy.REFUSED, False),
        (error(139999, 410), Remedy.REFUSED, False),
        (error(139999, 404, is_transient=True), Remedy.AGAIN, False),
        # The number that is sent from does not exist: nothing to mend in the message.
        (error(100, 400, error_subcode=33), Remedy.STOP_ACCOUNT, False),
        # An error inside of a success.
        (error(131047, 200), Remedy.USE_TEMPLATE, False),
        # What is no answer of Meta's.
        (response(b"<html>502</html>", 502), Remedy.AGAIN, True),
        (response(b"<html>Hi</html>", 200), Remedy.AGAIN, True),
        (response(b"", 200), Remedy.AGAIN, True),
        (response({}, 200), Remedy.AGAIN, True),
        (response({"messages": [{}]}, 200), Remedy.AGAIN, True),
        (response({"messages": "x"}, 200), Remedy.AGAIN, True),
        (response(b'{"messages": [{"id": "wam', 200), Remedy.AGAIN, True),
        (response(b"", 301, location="https://example.com"), Remedy.AGAIN, False),
        (response(b"", 307), Remedy.AGAIN, False),
        (response(b"", 401), Remedy.STOP_ACCOUNT, False),
        (response(b"", 404), Remedy.STOP_ACCOUNT, False),
        (response(b"", 413), Remedy.MEND_MESSAGE, False),
        (response(b"", 429), Remedy.SLOW_ACCOUNT, False),
        (response(b"", 503), Remedy.AGAIN, False),
        (response({"ok": 1}, 500), Remedy.AGAIN, True),
    ],
)
def test_unusual_answers_have_their_outcome(answer, remedy, in_doubt):
    """Whatever comes back, there is something to do, and doubt is named where there is some."""
    concluded = SENDER.conclude(MESSAGE, answer)
    assert isinstance(concluded, Refused)
    assert (concluded.remedy, concluded.in_doubt) == (remedy, in_doubt)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry_After": "7"}, 7.0),
        ({"retry_after": " 7 "}, 7.0),
        ({"Retry_After": "99999999"}, 86400.0),
        ({"Retry_After": "9" * 400}, 86400.0),
        (
            {
                "Retry_After": "Sun, 01 Nov 2026 12:02:00 GMT",
                "Date": "Sun, 01 Nov 2026 12:00:00 GMT",
            },
            120.0,
        ),
        (
            {
                "Retry_After": "Sun, 01 Nov 2026 12:00:00 GMT",
                "Date": "Sun, 01 Nov 2026 12:02:00 GMT",
            },
            0.0,
        ),
        ({"Retry_After": "Sun, 01 Nov 2026 12:02:00 GMT"}, None),
        ({"Retry_After": "soon"}, None),
        ({}, None),
    ],
)
def test_the_pause_that_is_asked_for_is_told(headers, seconds):
    """`Retry-After` is read as seconds or as a date, and is never more than a day."""
    answer = response({"error": {"code": 130429}}, 429, **headers)
    assert SENDER.conclude(MESSAGE, answer).retry_after == seconds


def test_an_error_that_nobody_documented_is_refused():
    """A status that fails with an unknown code is final, and says that nothing is known."""
    assert SENDER.remedy(ProviderError(code="139999")) is Remedy.REFUSED
    assert SENDER.remedy(ProviderError(title="words")) is Remedy.REFUSED
