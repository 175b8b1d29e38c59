"""Laws of every sender, with the simulated provider as the judge of what goes out.

The simulations hold the documented limits in words of their own, so that whatever is composed
is either taken by them or refused before.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

import attrs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bridge.adapter import Accepted, Outcome, Refused, Request, Response, SenderSource
from bridge.adapter.fitting import parts
from bridge.adapter.simulation import SimulationSource, answered
from bridge.adapters.incs import Channel, Incs, IncsSettings
from bridge.adapters.rcs import Rcs, RcsSettings
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.errors import Unsendable
from bridge.model import Carousel, Location, Media, MediaKind, Menu, Message, Option, Text
from bridge.testing import json_values
from tests.adapters.rcs.test_sending import KEY
from tests.adapters.sending import outbound
from tests.bridge.strategies import contents, untimed

NOW = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)
ADAPTERS = {
    "whatsapp": WhatsApp(
        "whatsapp", WhatsAppSettings(insecure=True, access_token="t", phone_number_id="1")
    ),
    "rcs": Rcs("rcs", RcsSettings(insecure=True, service_account=KEY, agent_id="agent")),
    "incs": Incs(
        "incs",
        IncsSettings(
            insecure=True,
            channels=[
                Channel(id=1, kind="whatsapp", certification_code="w"),
                Channel(id=2, kind="rcs", certification_code="r"),
                Channel(id=3, kind="viber", certification_code="v"),
            ],
        ),
    ),
}
ROUTES = [(name, channel) for name, one in ADAPTERS.items() for channel in one.sender().channels]


def token(simulation) -> str:
    """Return a token as a client gets it."""
    grant = b"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=a.b.c"
    answer = answered(simulation, Request(url="http://127.0.0.1/token", body=grant), NOW)
    return json.loads(answer.response.body)["access_token"]


class Provider:
    """A simulated provider without a socket, and without limits on how fast one sends."""

    def __init__(self, name: str) -> None:
        self.sender = ADAPTERS[name].sender()
        self.simulation = ADAPTERS[name].simulation()
        rules = self.simulation.rules
        rules.rate = rules.pair_every = rules.window = None
        self._bearer = f"Bearer {token(self.simulation)}" if name == "rcs" else None

    def send(self, message: Message) -> Outcome:
        request = self.sender.compose(message)
        if self._bearer is not None:
            headers = {**request.headers, "Authorization": self._bearer}
            request = attrs.evolve(request, headers=headers)
        return self.sender.conclude(message, answered(self.simulation, request, NOW).response)


@pytest.fixture(scope="module", params=ROUTES, ids=lambda route: f"{route[0]}-{route[1]}")
def route(request) -> tuple[Provider, str]:
    name, channel = request.param
    return Provider(name), channel


# --- strategies ----------------------------------------------------------------------------------

# Around each documented limit: titles, ids, descriptions, sections, headers, texts.
AROUND = {
    "title": [20, 21, 24, 25, 26],
    "id": [200, 201, 256, 257, 2048, 2049],
    "description": [72, 73],
    "section": [24, 25],
    "header": [60, 61, 200, 201],
    "footer": [60, 61],
    "button": [20, 21],
    "text": [160, 161, 1000, 1024, 1025, 2000, 2001, 2500, 3072, 3073, 4096, 4097, 9000],
}
SPOILT = ["", " ", " x", "x\n", "\ud800", "👍🏽" * 9]


def sized(draw, name: str, stretched: set[str], short: str | None) -> str | None:
    """Draw a string of a length around the limits of a field, or give the short one."""
    if name not in stretched:
        return short
    if draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from(SPOILT))
    length = draw(st.shared(st.sampled_from(AROUND[name]), key=name))
    unit = draw(st.sampled_from(["x", "word ", "é"]))
    return (unit * length)[: length - len(short or "")] + (short or "")


def stretched(draw, *more: str) -> set[str]:
    """Draw which one or two things of a content are out of the ordinary."""
    return draw(st.sets(st.sampled_from([*AROUND, *more]), max_size=2))


places = st.builds(
    Location,
    latitude=st.floats(-90, 90) | st.sampled_from([-90.5, 1e-9]),
    longitude=st.floats(-180, 180),
    name=st.none() | st.just("Monas"),
    url=st.none() | st.just("https://example.com/map"),
)


@st.composite
def pictures(draw) -> Media:
    odd = stretched(draw, "mime_type", "size", "media_id", "url")
    by_id = "media_id" in odd
    url = draw(st.sampled_from(["ftp://e.com", "https://e.com/ "])) if "url" in odd else None
    return Media(
        media=draw(st.sampled_from(MediaKind)),
        url=None if by_id and url is None else url or "https://example.com/a.png",
        media_id="123" if by_id else None,
        mime_type=draw(st.sampled_from(["image/png", "video/mp4", "audio/ogg", "text/csv"]))
        if "mime_type" in odd
        else None,
        size=draw(st.integers(1, 2**29)) if "size" in odd else None,
        caption=sized(draw, "text", odd, None),
        filename=sized(draw, "footer", odd, None),
    )


@st.composite
def choices(draw, number: int, odd: set[str]) -> Option:
    acts = {}
    if "act" in odd:
        act = draw(st.sampled_from(["url", "url", "phone", "location"]))
        acts = {
            act: {
                "url": draw(st.sampled_from(["https://example.com", "ftp://e.com"])),
                "phone": draw(st.sampled_from(["+1555", "12a"])),
                "location": draw(places),
            }[act]
        }
    return Option(
        sized(draw, "id", odd, str(number)),
        sized(draw, "title", odd, str(number)),
        description=sized(draw, "description", odd, None),
        section=sized(draw, "section", odd, None),
        **acts,
    )


@st.composite
def menus(draw, most: int = 12) -> Menu:
    odd = stretched(draw, "act", "media", "count")
    count = draw(st.sampled_from([0, 3, 4, 5, 10, 11, 12])) if "count" in odd else 2
    return Menu(
        sized(draw, "text", odd, "Pick") or "",
        options=[draw(choices(number, odd)) for number in range(min(count, most))],
        header=sized(draw, "header", odd, None),
        footer=sized(draw, "footer", odd, None),
        button=sized(draw, "button", odd, None),
        media=draw(pictures()) if "media" in odd else None,
    )


@st.composite
def carousels(draw) -> Carousel:
    """Draw cards that a channel takes side by side, with one of them changed now and then."""
    picture = Media(media=MediaKind.IMAGE, url="https://example.com/a.png")
    url = draw(st.sampled_from([None, "https://example.com"]))
    number = draw(st.integers(1, 3))
    options = [Option(str(n), f"Pick {n}", url=url) for n in range(number)]
    count = draw(st.sampled_from([0, 1, 2, 2, 10, 11]))
    cards = [Menu("Card", options=options, media=picture) for _ in range(count)]
    if cards and draw(st.booleans()):
        film = attrs.evolve(picture, media=MediaKind.VIDEO)
        link = [Option("1", "Open", url="https://example.com")]
        cards[-1] = draw(
            st.sampled_from(
                [
                    attrs.evolve(cards[-1], media=film),
                    attrs.evolve(cards[-1], media=None),
                    attrs.evolve(cards[-1], options=options[1:]),
                    attrs.evolve(cards[-1], options=link),
                ]
            )
            | menus()
        )
    return Carousel(cards, text=draw(st.sampled_from([None, "Look", "x" * 1025, " "])))


texts = st.builds(Text, text=st.text(max_size=20).map(lambda text: text * 400) | st.text())
sent = st.one_of(menus(), menus(), menus(), carousels(), pictures(), places, texts)


# --- laws ----------------------------------------------------------------------------------------


def test_the_contract_is_kept():
    """Each of the three adapters can send, and can be simulated."""
    for adapter in ADAPTERS.values():
        assert isinstance(adapter, SenderSource)
        assert isinstance(adapter, SimulationSource)


@settings(untimed, max_examples=3 * untimed.max_examples)
@given(content=sent)
def test_what_goes_out_is_within_the_documented_limits(route, content):
    """Whatever is sent, each part is one that the provider takes, or it is refused before."""
    provider, channel = route
    message = outbound(content, channel=channel)
    try:
        several = parts(message, provider.sender.channels[channel])
    except Unsendable:
        return
    assert len({part.message_id for part in several}) == len(several)
    for part in several:
        try:
            outcome = provider.send(part)
        except Unsendable as error:
            assume("does not fit into JSON" not in error.reason)  # half a character somewhere
            raise
        assert isinstance(outcome, Accepted), outcome


@untimed
@given(content=contents)
def test_only_unsendable_leaves_compose(route, content):
    """For any content of the model there is a request, or a reason why there is none."""
    provider, channel = route
    message = outbound(content, channel=channel)
    try:
        for part in parts(message, provider.sender.channels[channel]):
            assert isinstance(provider.sender.compose(part), Request)
        assert isinstance(provider.sender.compose(message), Request)
    except Unsendable:
        pass


@untimed
@given(content=sent)
def test_a_message_has_the_same_parts_each_time(route, content):
    """Parts depend on the message alone, and what was made to fit fits."""
    provider, channel = route
    capabilities = provider.sender.channels[channel]
    message = outbound(content, channel=channel)
    try:
        several = parts(message, capabilities)
    except Unsendable:
        return
    assert parts(message, capabilities) == several
    for part in several:
        assert parts(part, capabilities) == (part,)
        try:
            strict = parts(message, capabilities, strict=True)
        except Unsendable:
            continue
        assert strict == several == (message,)


answers = st.builds(
    Response,
    status=st.integers(100, 599),
    body=st.binary(max_size=50) | json_values.map(lambda value: json.dumps(value).encode()),
    headers=st.dictionaries(
        st.sampled_from(["Retry-After", "Date", "retry-after"]), st.text(max_size=30), max_size=2
    ),
)
errors = st.builds(
    lambda status, error: Response(status=status, body=json.dumps({"error": error}).encode()),
    st.integers(100, 599),
    json_values,
)


@untimed
@given(content=contents, answer=answers | errors)
def test_every_answer_has_an_outcome(route, content, answer):
    """Whatever a provider answers to whatever was sent, `conclude` returns and says what to do."""
    provider, channel = route
    outcome = provider.sender.conclude(outbound(content, channel=channel), answer)
    assert isinstance(outcome, Accepted | Refused)
    if isinstance(outcome, Refused):
        assert outcome.retry_after is None or 0 <= outcome.retry_after <= 86400
        assert provider.sender.remedy(outcome.error)


@untimed
@given(
    method=st.sampled_from(["GET", "POST", "DELETE"]),
    path=st.sampled_from(
        [
            "/1/messages",
            "/external/messages/rcs",
            "/v1/phones/+1222333/agentMessages?messageId=x",
            "/token",
            "/",
        ]
    ),
    body=st.binary(max_size=50) | json_values.map(lambda value: json.dumps(value).encode()),
)
def test_a_simulation_answers_any_request(route, method, path, body):
    """Whatever is sent to a simulated provider, it answers as HTTP does."""
    provider, _ = route
    request = Request(method=method, url=f"http://127.0.0.1{path}", body=body)
    assert 200 <= answered(provider.simulation, request, NOW).response.status < 600
