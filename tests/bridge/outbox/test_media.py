"""Fetching the files of messages, from a server on loopback that stands for the provider's."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import attrs
import fsspec
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bridge import Bridge, Callback, Media, MediaKind, MemoryJournal, Message, Notice, Text
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.errors import ConfigurationError, Unanswered, Unfetchable
from bridge.outbox.client import Client
from bridge.outbox.media import Downloads

CONTENT = bytes(range(256)) * 9000  # some 2 MiB: several pieces
SHA256 = hashlib.sha256(CONTENT).hexdigest()
TOKEN = "a-system-users-token"


@attrs.define
class Provider:
    """A server that gives files out as Meta does, and remembers who presented which token."""

    server: TestServer = None
    sha256: str = SHA256
    size: int = len(CONTENT)
    found: int = 200
    answer: object = None
    tokens: list[str | None] = attrs.field(factory=list)

    async def lookup(self, request: web.Request) -> web.Response:
        self.tokens.append(request.headers.get("Authorization"))
        if self.found != 200:
            return web.json_response({"error": {"message": "gone"}}, status=self.found)
        return web.json_response(
            {
                "url": str(self.server.make_url("/file")),
                "mime_type": "image/png",
                "sha256": self.sha256,
                "file_size": self.size,
                "id": request.match_info["id"],
                "messaging_product": "whatsapp",
            }
        )

    async def file(self, request: web.Request) -> web.StreamResponse:
        self.tokens.append(request.headers.get("Authorization"))
        if self.answer is None:
            return web.Response(body=CONTENT)
        return await self.answer(request)

    def adapter(self, token: str | None = TOKEN) -> WhatsApp:
        base_url = str(self.server.make_url("/v26.0"))
        settings = WhatsAppSettings(app_secrets="s", access_token=token, base_url=base_url)
        return WhatsApp("whatsapp", settings)


@pytest.fixture
async def provider():
    provider = Provider()
    app = web.Application()
    app.router.add_get("/v26.0/{id}", provider.lookup)
    app.router.add_get("/file", provider.file)
    provider.server = TestServer(app)
    async with provider.server:
        yield provider


@pytest.fixture
async def downloads():
    async with Client() as client, Downloads(client, silence=0.5) as downloads:
        yield downloads


def picture(**changes) -> Media:
    return attrs.evolve(Media(media=MediaKind.IMAGE, media_id="1037543291543636"), **changes)


async def test_a_file_is_fetched_by_its_id(provider, downloads):
    """Meta's two steps give the file, with the token in both, and what Meta knows of it."""
    file = await downloads.fetch(picture(), provider.adapter())
    assert (file.content, file.sha256, file.size) == (CONTENT, SHA256, len(CONTENT))
    assert file.media.mime_type == "image/png"
    assert provider.tokens == [f"Bearer {TOKEN}"] * 2


async def test_a_file_comes_as_it_is(provider, downloads):
    """A server that would compress it is asked not to: what is kept would be another file."""

    async def compressing(request):
        response = web.Response(body=CONTENT)
        response.enable_compression()
        return response

    provider.answer = compressing
    assert (await downloads.fetch(picture(), provider.adapter())).content == CONTENT


async def test_a_file_goes_to_its_path_whole(provider, downloads, tmp_path):
    """With a path the file stands there, readable by its owner alone, and progress was told."""
    told = []
    path = tmp_path / "picture.png"
    file = await downloads.fetch(
        picture(), provider.adapter(), to=path, progress=lambda *each: told.append(each)
    )
    assert (file.path, file.content, path.read_bytes()) == (path, b"", CONTENT)
    assert path.stat().st_mode & 0o777 == 0o600
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert sorted(told) == told
    assert list(tmp_path.iterdir()) == [path]


async def broken_off(request):
    response = web.StreamResponse(headers={"Content-Length": str(len(CONTENT))})
    await response.prepare(request)
    await response.write(CONTENT[:1000])
    request.transport.close()
    return response


async def silent(request):
    response = web.StreamResponse(headers={"Content-Length": str(len(CONTENT))})
    await response.prepare(request)
    await response.write(CONTENT[:1000])
    await asyncio.Event().wait()
    return response


def answered(status: int, **headers: str):
    async def answer(_request):
        return web.Response(status=status, headers=headers)

    return answer


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"sha256": "0" * 64}, Unfetchable, "checksum"),
        ({"size": len(CONTENT) + 1}, Unanswered, "bytes came instead of"),
        ({"size": 3 * 1024 * 1024}, Unfetchable, "larger than"),
        ({"found": 404}, Unfetchable, "gone"),
        ({"found": 503}, Unanswered, "gone"),
        ({"answer": answered(404)}, Unfetchable, "HTTP 404"),
        ({"answer": answered(503)}, Unanswered, "HTTP 503"),
        ({"answer": answered(200, **{"Content-Encoding": "gzip"})}, Unfetchable, "compressed"),
        ({"answer": answered(200, **{"Content-Encoding": "X, BR"})}, Unfetchable, "compressed"),
        ({"answer": broken_off}, Unanswered, "connection failed"),
        ({"answer": silent}, Unanswered, "in time"),
        ({"answer": answered(302)}, Unfetchable, "no URL"),
        ({"answer": answered(302, Location="file:///etc/passwd")}, Unfetchable, "no URL"),
        ({"answer": answered(302, Location="/file")}, Unfetchable, "more than 5 times"),
    ],
)
async def test_what_goes_wrong_leaves_nothing(  # noqa: PLR0917 - fixtures, and what is drawn
    provider, downloads, tmp_path, changes, error, words
):
    """Whatever goes wrong has an error that says whether to try again, and no file is left."""
    for name, value in changes.items():
        setattr(provider, name, value)
    with pytest.raises(error, match=words):
        await downloads.fetch(
            picture(),
            provider.adapter(),
            to=tmp_path / "picture.png",
            max_size=len(CONTENT) + 1,
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("coding", ["Identity", "aws-chunked, UTF-8", "binary", ""])
async def test_what_stores_say_of_files_that_are_as_they_are(provider, downloads, coding):
    """A coding that compresses nothing does not keep a file from being fetched."""

    async def answer(_request):
        return web.Response(body=CONTENT, headers={"Content-Encoding": coding})

    provider.answer = answer
    file = await downloads.fetch(picture(), provider.adapter())
    assert file.content == CONTENT


async def test_a_file_without_a_length_is_bounded(provider, downloads):
    """A file that does not announce its size is cut off at the limit."""

    async def endless(request):
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        while True:
            await response.write(CONTENT)

    provider.answer, provider.size = endless, None
    with pytest.raises(Unfetchable, match="larger than"):
        await downloads.fetch(picture(), provider.adapter(), max_size=3 * len(CONTENT))


@pytest.mark.parametrize(
    "link",
    [
        "http://127.0.0.1:{port}/file",
        "http://localhost:{port}/file",
        "http://[::1]:{port}/file",
        "http://[::ffff:127.0.0.1]:{port}/file",
        "http://2130706433:{port}/file",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/file",
        "http://0.0.0.0:{port}/file",
        "http://127.1:{port}/file",
        "http://0x7f000001:{port}/file",
        "http://[::127.0.0.1]:{port}/file",  # an IPv4 address in IPv6, by RFC 4291
        "http://[64:ff9b::7f00:1]:{port}/file",  # and by RFC 6052, which gateways translate
        "http://[64:ff9b:1::1]:{port}/file",  # and by RFC 8215, inside of a network
        "http://[2002:7f00:1::1]:{port}/file",  # and by RFC 3056
        "http://[::ffff:0:7f00:1]:{port}/file",  # and by RFC 2765
        "http://[5f00::1]:{port}/file",  # a segment's, by RFC 9602
        "http://[fec0::1]:{port}/file",
        "http://[ff02::1]:{port}/file",
        "http://224.0.0.1:{port}/file",
    ],
)
async def test_a_link_to_an_address_inside_is_not_followed(provider, downloads, link):
    """A link that leads to an address that is not public is refused, however it is written."""
    url = link.format(port=provider.server.port)
    with pytest.raises(Unfetchable, match=r"not public|no URL"):
        await downloads.fetch(Media(media=MediaKind.IMAGE, url=url))
    assert provider.tokens == []


async def test_a_redirect_leads_nobody_inside(provider, downloads):
    """A redirect to an address that is not public is refused, also from the provider's own."""
    other = web.Application()
    reached = []

    async def inside(request):
        reached.append(request.headers)
        return web.Response(body=CONTENT)

    other.router.add_get("/file", inside)
    async with TestServer(other) as server:
        provider.answer = answered(302, Location=str(server.make_url("/file")))
        with pytest.raises(Unfetchable, match="not public"):
            await downloads.fetch(picture(), provider.adapter())
    assert reached == []


async def test_what_cannot_be_asked_for(provider, downloads):
    """A file without a link and an adapter that could ask, or without credentials, says so."""
    with pytest.raises(Unfetchable, match="no link"):
        await downloads.fetch(picture())
    with pytest.raises(ConfigurationError, match="access_token"):
        await downloads.fetch(picture(), provider.adapter(token=None))
    with pytest.raises(Unfetchable, match="no id"):
        await downloads.fetch(picture(media_id="../me"), provider.adapter())


async def test_a_folder_that_is_not_there(provider, downloads, tmp_path):
    """A path in a folder that does not exist is told with the folder's name."""
    with pytest.raises(Unfetchable, match="nowhere: no file can be written"):
        await downloads.fetch(picture(), provider.adapter(), to=tmp_path / "nowhere" / "file")


async def test_a_subscriber_fetches_what_a_user_sent(provider, tmp_path):
    """`Bridge.fetch` gives the file of a message that came as a callback, through its adapter."""
    adapter = provider.adapter()
    (sample,) = [sample for sample in adapter.samples() if sample.name == "image"]
    bridge = Bridge(journal=MemoryJournal())
    bridge.add_adapter("whatsapp", adapter)
    fetched, refused = asyncio.Queue(), asyncio.Queue()

    @bridge.on(Message, content=Media, name="files")
    async def keep(message: Message[Media]) -> None:
        fetched.put_nowait(await bridge.fetch(message, to=tmp_path / "picture"))

    @bridge.on(Message, content=Text, name="texts")
    async def wrong(message: Message[Text]) -> None:
        try:
            await bridge.fetch(message)
        except Unfetchable as error:
            refused.put_nowait(str(error))

    (text,) = [sample for sample in adapter.samples() if sample.name == "text"]
    async with bridge:
        for each in (sample, text):
            signed = adapter.authenticate(orjson.dumps(each.body))
            callback = Callback(
                body=signed.body, headers=signed.headers, received_at=datetime.now(UTC)
            )
            await bridge.receive("whatsapp", callback)
        async with asyncio.timeout(30):
            file = await fetched.get()
            assert await refused.get() == "a text has no file"
    assert file.path.read_bytes() == CONTENT


async def test_what_cannot_be_fetched_is_a_dead_letter_at_once(provider):
    """A subscriber that lets `Unfetchable` through gets no further try of its event."""
    adapter = provider.adapter()
    (sample,) = [sample for sample in adapter.samples() if sample.name == "image"]
    provider.found = 404
    bridge = Bridge(journal=MemoryJournal())
    bridge.add_adapter("whatsapp", adapter)

    @bridge.on(Message, content=Media, name="files")
    async def keep(message: Message[Media]) -> None:
        await bridge.fetch(message)

    async with bridge:
        signed = adapter.authenticate(orjson.dumps(sample.body))
        callback = Callback(body=signed.body, headers=signed.headers, received_at=datetime.now(UTC))
        await bridge.receive("whatsapp", callback)
        async with asyncio.timeout(30):
            while not (letters := await bridge.journal.dead_letters("files")):
                await asyncio.sleep(0.001)
    assert [each.retry.tries for each in letters] == [1]


@asynccontextmanager
async def keeping(provider, tmp_path, where):
    """Run a bridge that keeps files, and give the queue of what it tells, and it itself."""
    config = tmp_path / "config.toml"
    config.write_text(f"""
        [journal]
        engine = "memory"
        [adapters.whatsapp]
        app_secrets = "s"
        access_token = "{TOKEN}"
        base_url = "{provider.server.make_url("/v26.0")}"
        [subscribers.files]
        use = "media"
        tries = 1
        {where}
    """)
    bridge = Bridge.from_toml(config)
    told = asyncio.Queue()
    bridge.on(Notice, name="told")(told.put)
    async with bridge:
        yield told, bridge


async def receive(bridge, *names):
    adapter = bridge.adapters["whatsapp"]
    samples = {each.name: each for each in adapter.samples()}
    for name in names:
        now = datetime.now(UTC)
        body = adapter.freshen(samples[name].body, "once", now)
        signed = adapter.authenticate(orjson.dumps(body))
        callback = Callback(body=signed.body, headers=signed.headers, received_at=now)
        await bridge.receive("whatsapp", callback)


async def test_files_are_kept_and_told_of(provider, tmp_path):
    """`use = "media"` keeps each file once, in its folder beside the settings, and tells where."""
    async with keeping(provider, tmp_path, 'folder = "files"') as (told, bridge):
        await receive(bridge, "image", "text", "image", "text")
        async with asyncio.timeout(30):
            notice = await told.get()
            await bridge.caught_up()  # with the notice too, which holds no file
        assert not await bridge.journal.dead_letters("files")
    (kept,) = [path for path in (tmp_path / "files").rglob("*") if path.is_file()]
    assert kept.read_bytes() == CONTENT
    assert notice.topic == "media_kept"
    assert (notice.details["path"], notice.details["sha256"]) == (str(kept), SHA256)
    assert notice.domain == "whatsapp"
    assert told.empty()


async def test_files_are_kept_in_any_file_system(provider, tmp_path):
    """With a `url`, the file is where the `Notice` says, in whatever fsspec knows."""
    async with keeping(provider, tmp_path, 'url = "memory://bucket/files"') as (told, bridge):
        await receive(bridge, "image")
        async with asyncio.timeout(30):
            notice = await told.get()
    url = notice.details["path"]
    assert url.startswith("memory://")
    assert "/bucket/files/" in url
    with fsspec.open(url, "rb") as file:
        assert file.read() == CONTENT


async def test_a_file_system_that_takes_nothing(provider, tmp_path):
    """What cannot be put there is tried again, and told without an address."""
    (tmp_path / "full").write_bytes(b"")
    where = f'url = "local://{tmp_path}/full"'  # a file in the place of a folder
    async with keeping(provider, tmp_path, where) as (told, bridge):
        await receive(bridge, "image")
        async with asyncio.timeout(30):
            while not (letters := await bridge.journal.dead_letters("files")):
                await asyncio.sleep(0.001)
        assert told.empty()
    assert "the file cannot be put there: " in letters[0].retry.error
    assert "full" not in letters[0].retry.error


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nowhere://bucket", "Protocol not known: nowhere"),
        ("simplecache::nowhere://bucket", "Protocol not known: nowhere"),
        ("s3://bucket/files", "s3fs"),
    ],
)
async def test_a_file_system_that_is_not_there(provider, tmp_path, url, message):
    """What fsspec does not know, or what it takes and is not installed, is told at the start."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        async with keeping(provider, tmp_path, f'url = "{url}"'):
            pass
    assert caught.value.problems[0].key == "subscribers.files.url"


async def test_without_the_extra(provider, tmp_path, monkeypatch):
    """Where fsspec lacks, the error says what to install."""
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ConfigurationError, match=r"pip install incs-bridge\[fsspec\]"):
        async with keeping(provider, tmp_path, 'url = "s3://bucket/files"'):
            pass
