"""The HTTP client: every way in which a request can end has its outcome."""

from __future__ import annotations

import asyncio

import attrs
import pytest
from aiohttp import web

from bridge.adapter import Accepted, Probe, Refused, Remedy, Request, Response, ServiceAccount
from bridge.adapter.signing import Secret
from bridge.errors import NotRunning, Unanswered, Unsendable
from bridge.model import Choice, ChoiceSource, Text
from bridge.outbox.client import MAX_RESPONSE, Client
from bridge.testing.providers import SimulatedProvider, Trouble
from tests.adapters.sending import outbound
from tests.bridge.outbox import providers
from tests.bridge.outbox.keys import service_account


class Server:
    """Answers every request with what a test sets."""

    def __init__(self) -> None:
        self.url = ""
        self.answer = web.Response
        self.requests: list[web.Request] = []
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        return self.answer()

    async def __aenter__(self):
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_) -> None:
        await self._runner.cleanup()


@pytest.fixture
async def server():
    async with Server() as made:
        yield made


@pytest.fixture
async def client():
    async with Client(timeout=5.0) as made:
        yield made


def test_tokens_are_asked_for_in_each_event_loop():
    """Where several want one token, in one event loop and then in another, all of them get it."""

    async def issue(request: Request) -> Response:
        await asyncio.sleep(0)
        return Response(body=b'{"access_token": "token", "expires_in": 1}')

    client = Client(transport=issue)
    account = ServiceAccount(key=Secret(service_account("https://a.test/token")), scope="a-scope")

    async def use() -> None:
        async with client:
            asked = (client.probe(None, Probe(request=account, setting="key")) for _ in range(3))
            assert await asyncio.gather(*asked) == [Accepted()] * 3

    for _ in range(2):
        asyncio.run(use())


async def test_a_response_comes_back_whole(server, client):
    """Status, headers and body are what the server sent, also of an error."""
    server.answer = lambda: web.Response(status=418, text="short", headers={"Retry-After": "3"})
    response = await client.exchange(Request(url=f"{server.url}/a?b=c", body=b"{}"))
    assert (response.status, response.body) == (418, b"short")
    assert response.headers["Retry-After"] == "3"
    assert response.content_type == "text/plain; charset=utf-8"
    (request,) = server.requests
    assert (request.method, request.path_qs) == ("POST", "/a?b=c")


async def test_a_redirect_is_not_followed(server, client):
    """Nothing that a provider says makes the client send a message elsewhere."""
    server.answer = lambda: web.Response(status=307, headers={"Location": f"{server.url}/other"})
    response = await client.exchange(Request(url=server.url))
    assert response.status == 307
    assert len(server.requests) == 1


async def test_a_response_is_bounded(server, client):
    """No more is read than an answer can have, however much comes, compressed or not."""
    server.answer = lambda: web.Response(body=b"x" * (4 * MAX_RESPONSE))
    assert len((await client.exchange(Request(url=server.url))).body) == MAX_RESPONSE

    def bomb() -> web.Response:
        response = web.Response(body=b"0" * (64 * MAX_RESPONSE))
        response.enable_compression(web.ContentCoding.gzip)
        return response

    server.answer = bomb
    request = Request(url=server.url, headers={"Accept-Encoding": "gzip"})
    assert len((await client.exchange(request)).body) == MAX_RESPONSE


async def test_no_cookie_is_kept(server, client):
    """What one response sets, no other request carries."""
    server.answer = lambda: web.Response(headers={"Set-Cookie": "a=b"})
    for _ in range(2):
        await client.exchange(Request(url=server.url))
    assert "Cookie" not in server.requests[1].headers


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "//graph.example/v26.0",
        "graph.example/v26.0",
        "http://",
        "ftp://127.0.0.1/",
        "http://127.0.0.1:x/",
        "http://graph..example/",
        f"http://{64 * 'a'}.example/",  # a label has 63 at most, by RFC 1035
    ],
)
async def test_an_address_that_is_none_leaves_no_doubt(client, url):
    """A wrong base URL is no URL, and nothing was sent."""
    with pytest.raises(Unanswered) as caught:
        await client.exchange(Request(url=url))
    assert not caught.value.in_doubt


async def test_a_name_that_is_nobody_s_leaves_no_doubt(client):
    """Where a host has no address, nothing was sent; the text names the host and no more."""
    with pytest.raises(Unanswered) as caught:
        await client.exchange(Request(url="http://nobody.invalid:1/+16505551234"))
    assert not caught.value.in_doubt
    assert str(caught.value).startswith("no connection to nobody.invalid:1")
    assert "16505551234" not in str(caught.value)


async def test_a_client_that_is_not_open_says_so():
    """Sending before the client is opened is a mistake that is named."""
    with pytest.raises(NotRunning):
        await Client().exchange(Request(url="http://127.0.0.1:1"))


async def test_what_cannot_be_composed_is_not_sent(client):
    """`Unsendable` comes through, and nothing leaves."""
    async with SimulatedProvider() as provider:
        adapter = providers.whatsapp(provider.url)
        provider.play(adapter)
        with pytest.raises(Unsendable):
            await client.send(adapter.sender(), outbound(Choice(source=ChoiceSource.LIST)))
        assert provider.requests == []


async def test_many_send_at_once(client):
    """Messages of many tasks go over the same connections, and none is lost."""
    async with SimulatedProvider() as provider:
        adapter = providers.whatsapp(provider.url)
        provider.play(adapter)
        provider.rules.window = provider.rules.rate = provider.rules.pair_every = None
        sender = adapter.sender()
        messages = [
            attrs.evolve(outbound(Text(text=str(n))), message_id=str(n)) for n in range(200)
        ]
        outcomes = await asyncio.gather(*(client.send(sender, one) for one in messages))
        assert all(isinstance(outcome, Accepted) for outcome in outcomes)
        assert {one.correlation for one in provider.arrived} == {str(n) for n in range(200)}


# --- service accounts ----------------------------------------------------------------------------


async def test_one_token_serves_many_requests(client):
    """Those who need a token at once wait for one, and it is kept for who comes later."""
    async with SimulatedProvider() as provider:
        adapter = providers.rcs(provider.url)
        provider.play(adapter)
        sender = adapter.sender()
        message = outbound(Text(text="Hi"), channel="rcs")
        await asyncio.gather(*(client.send(sender, message) for _ in range(10)))
        await client.send(sender, message)
        tokens = [one for one in provider.requests if one.url.endswith("/token")]
        assert len(tokens) == 1


async def test_a_token_that_is_refused_is_replaced_once(client):
    """A token that was revoked costs one more request; a key that is refused stops the account."""
    async with SimulatedProvider() as provider:
        adapter = providers.rcs(provider.url)
        simulation = provider.play(adapter)
        sender = adapter.sender()
        message = outbound(Text(text="Hi"), channel="rcs")
        assert isinstance(await client.send(sender, message), Accepted)
        simulation._tokens.clear()
        assert isinstance(await client.send(sender, message), Accepted)
        simulation.rules.errors += ["UNAUTHENTICATED"] * 2
        outcome = await client.send(sender, message)
        assert outcome.remedy is Remedy.STOP_ACCOUNT
        assert not simulation.rules.errors


async def test_a_key_that_is_none_stops_the_account(client):
    """What cannot sign is told by its setting's name, and nothing of it is shown."""
    async with SimulatedProvider() as provider:
        adapter = providers.rcs(provider.url)
        provider.play(adapter)
        spoilt = attrs.evolve(
            adapter._settings,
            service_account=(
                '{"client_email": "a", "private_key": "geheim", "token_uri": "http://127.0.0.1"}'
            ),
        )
        sender = type(adapter)("rcs", spoilt).sender()
        outcome = await client.send(sender, outbound(Text(text="Hi"), channel="rcs"))
        assert outcome.remedy is Remedy.STOP_ACCOUNT
        assert outcome.error.title == "service_account: not the key of a service account"


@pytest.mark.parametrize(
    ("answered", "remedy", "words"),
    [
        (
            (400, '{"error": "invalid_grant"}'),
            Remedy.STOP_ACCOUNT,
            "refused where tokens are issued",
        ),
        ((403, ""), Remedy.STOP_ACCOUNT, "HTTP 403"),
        ((200, "{}"), Remedy.AGAIN, "no token: HTTP 200"),
        ((200, "<html>"), Remedy.AGAIN, "no token: HTTP 200"),
        ((503, ""), Remedy.AGAIN, "no token: HTTP 503"),
    ],
)
async def test_where_tokens_are_issued_there_is_trouble_too(
    server, client, answered, remedy, words
):
    """A key that is refused stops the account, anything else passes; nothing was sent."""
    status, body = answered
    server.answer = lambda: web.Response(status=status, text=body)
    sender = providers.rcs(server.url).sender()
    outcome = await client.send(sender, outbound(Text(text="Hi"), channel="rcs"))
    assert isinstance(outcome, Refused)
    assert (outcome.remedy, outcome.in_doubt) == (remedy, False)
    assert words in outcome.error.title
    assert len(server.requests) == 1


async def test_trouble_with_a_token_leaves_no_doubt_about_the_message(client):
    """A connection that breaks while a token is fetched has sent no message."""
    async with SimulatedProvider() as provider:
        adapter = providers.rcs(provider.url)
        provider.play(adapter)
        provider.trouble = Trouble.DOWN
        outcome = await client.send(adapter.sender(), outbound(Text(text="Hi"), channel="rcs"))
        assert (outcome.remedy, outcome.in_doubt) == (Remedy.AGAIN, False)
