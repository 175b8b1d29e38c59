"""A file of ours is given to the provider, and sent by the id that it has there."""

from __future__ import annotations

import hashlib

import orjson
import pytest

from bridge.errors import ConfigurationError, KeyConflict, Unanswered, Unsendable
from bridge.model import Media, MediaKind, Menu, Option, Status
from bridge.model.content import Template, TemplateParameter
from bridge.runtime import Bridge
from bridge.testing.providers import SimulatedProvider, Trouble
from bridge.testing.rehearsal import TestBridge
from tests.bridge.outbox.providers import rcs, whatsapp
from tests.bridge.outbox.trips import USER, planned, under_way

# Whatever a multipart form is made of may be in a file too.
PDF = b"%PDF-1.7\r\n--boundary\r\n\r\n\x00\xff\r\n--\r\n"


@pytest.mark.parametrize(
    ("name", "kind", "shown"),
    [
        ("whatsapp", "document", {"id": "ID", "caption": "Yours", "filename": "invoice.pdf"}),
        ("rcs", "contentMessage", {"uploadedRbmFile": {"fileName": "ID"}}),
    ],
)
async def test_a_file_is_uploaded_and_sent_by_its_id(name, kind, shown, tmp_path):
    """The provider has the same bytes, and the user gets what the id names."""
    path = tmp_path / "invoice.pdf"
    path.write_bytes(PDF)
    async with planned(name) as trip, under_way(trip):
        await trip.say()
        await trip.until(lambda: trip.events)
        file = await trip.bridge.upload(path, via=trip.events[0], caption="Yours")
        assert trip.provider.simulation.files == {file.media_id: PDF}
        assert (file.media, file.mime_type, file.size, file.sha256, file.filename) == (
            MediaKind.DOCUMENT,
            "application/pdf",
            len(PDF),
            hashlib.sha256(PDF).hexdigest(),
            "invoice.pdf",
        )
        sending = await trip.bridge.reply(trip.events[0], file)
        assert (await sending.outcome(10)).status is Status.ACCEPTED
        body = orjson.dumps(trip.provider.arrived[0].body[kind])
        assert orjson.loads(body.replace(file.media_id.encode(), b"ID")) == shown


async def test_bytes_and_a_word_for_the_way():
    """What is in memory goes as well, to the account that `via` names, as what one says it is."""
    async with planned("whatsapp") as trip, under_way(trip):
        file = await trip.bridge.upload(
            b"RIFF0000WEBP", via="whatsapp", mime_type="image/webp", media="sticker"
        )
        assert file.media is MediaKind.STICKER
        request = trip.provider.requests[-1]
        assert request.url.endswith("/v26.0/106540352242922/media")
        assert request.headers["Authorization"] == "Bearer EAAJB"


async def test_a_file_of_many_bytes(tmp_path):
    """Files come up to the size that the provider takes."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(bytes(range(256)) * 48 * 1024)  # 12 MiB
    async with planned("whatsapp") as trip, under_way(trip):
        file = await trip.bridge.upload(path, via="whatsapp")
        assert trip.provider.simulation.files[file.media_id] == path.read_bytes()


async def test_what_the_channel_does_not_carry_is_not_uploaded(tmp_path):
    """It raises with the limit, before a byte has gone."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"x")
    async with planned("rcs") as trip, under_way(trip):
        with pytest.raises(Unsendable, match="application/zip"):
            await trip.bridge.upload(b"PK", via="rcs", mime_type="application/zip")
        with pytest.raises(Unsendable, match="empty"):
            await trip.bridge.upload(b"", via="rcs", mime_type="image/png")
        with pytest.raises(Unsendable, match="mime_type"):
            await trip.bridge.upload(b"x", via="rcs")
        for wrong in ("png", "image/png\r\nX-A: b", "image/", 'a/b"'):
            with pytest.raises(Unsendable, match="one such as image/png"):
                await trip.bridge.upload(b"x", via="rcs", mime_type=wrong)
        with pytest.raises(Unsendable, match="found a int"):
            await trip.bridge.upload(5, via="rcs", mime_type="image/png")
        with pytest.raises(Unsendable, match="No such file"):
            await trip.bridge.upload(tmp_path / "missing.png", via="rcs")
        with pytest.raises(Unsendable, match="one of image"):
            await trip.bridge.upload(path, via="rcs", media="film")
        with pytest.raises(ConfigurationError, match="account to send from"):
            await trip.bridge.upload(path, via="telegram")
        assert trip.provider.requests == []


async def test_incs_takes_links():
    """INCS documents no upload."""
    async with planned("incs") as trip, under_way(trip):
        with pytest.raises(Unsendable, match="send a link"):
            await trip.bridge.upload(PDF, via="incs:30058", mime_type="application/pdf")


@pytest.mark.parametrize("name", ["whatsapp", "rcs"])
@pytest.mark.parametrize("trouble", list(Trouble))
async def test_trouble_of_the_provider_s(name, trouble):
    """Whatever it answers, the caller hears that trying again may help, or that it will not."""
    async with planned(name) as trip, under_way(trip):
        trip.provider.troubles.extend([None] * (name == "rcs"))  # the token
        trip.provider.trouble, trip.provider.slowness = trouble, 0.01
        if trouble is Trouble.SLOW:
            assert (await trip.bridge.upload(PDF, via=name, mime_type="application/pdf")).media_id
            return
        with pytest.raises(Unanswered):
            await trip.bridge.upload(PDF, via=name, mime_type="application/pdf")


@pytest.mark.parametrize(("name", "code"), [("whatsapp", "190"), ("rcs", "PERMISSION_DENIED")])
async def test_what_a_person_has_to_mend(name, code):
    """A token that is refused is not tried again and again."""
    async with planned(name) as trip, under_way(trip):
        trip.provider.rules.errors.append(code)
        with pytest.raises(Unsendable, match=code):
            await trip.bridge.upload(PDF, via=name, mime_type="application/pdf")


async def test_a_token_that_was_revoked():
    """The file goes once more, whole, with a new token."""
    async with planned("rcs") as trip, under_way(trip):
        await trip.bridge.upload(PDF, via="rcs", mime_type="application/pdf")
        trip.provider.simulation.revoke()
        file = await trip.bridge.upload(PDF, via="rcs", mime_type="application/pdf")
        assert trip.provider.simulation.files[file.media_id] == PDF


@pytest.mark.parametrize(
    "around",
    [
        lambda file: file,
        lambda file: Menu("Pay?", options=(Option("yes", "Yes"),), media=file),
        lambda file: Template(
            name="bill",
            language="en",
            parameters=(TemplateParameter(component="header", media=file),),
        ),
    ],
)
async def test_the_same_file_under_the_same_key(around):
    """A file that is uploaded again is the same file: its checksum says so, its id does not."""
    file = Media(media=MediaKind.IMAGE, media_id="1", sha256="a" * 64, mime_type="image/png")
    again = Media(media=MediaKind.IMAGE, media_id="2", sha256="a" * 64, mime_type="image/png")
    other = Media(media=MediaKind.IMAGE, media_id="3", sha256="b" * 64, mime_type="image/png")
    async with planned("whatsapp") as trip, under_way(trip):
        first = await trip.bridge.send(USER, around(file), via="whatsapp", key="bill/1")
        second = await trip.bridge.send(USER, around(again), via="whatsapp", key="bill/1")
        assert (first.is_new, second.is_new) == (True, False)
        with pytest.raises(KeyConflict):
            await trip.bridge.send(USER, around(other), via="whatsapp", key="bill/1")


async def test_a_bot_on_trial_uploads_nothing():
    """In a test of subscribers, a file has its checksum for an id."""
    bridge = Bridge()
    bridge.add_adapter("whatsapp", whatsapp("http://127.0.0.1:9"))
    async with TestBridge(bridge):
        file = await bridge.upload(PDF, via="whatsapp", mime_type="application/pdf")
        assert file.media_id == hashlib.sha256(PDF).hexdigest()


async def test_a_file_on_its_way_elsewhere():
    """An id means nothing to another provider: without a link, the next way is passed over."""
    linked = Media(media=MediaKind.IMAGE, url="https://example.com/a.png", mime_type="image/png")
    named = Media(media=MediaKind.IMAGE, media_id="1", mime_type="image/png")
    async with planned("whatsapp") as trip, SimulatedProvider() as other:
        adapter = rcs(other.url)
        trip.bridge.add_adapter("rcs", adapter)
        other.play(adapter)
        async with under_way(trip):
            for file, last in ((linked, "rcs"), (named, "whatsapp")):
                trip.provider.rules.errors.append("131026")
                sending = await trip.bridge.send(USER, file, via="whatsapp", fallback=["rcs"])
                assert (await sending.outcome(10)).source == last
    assert len(other.arrived) == 1
