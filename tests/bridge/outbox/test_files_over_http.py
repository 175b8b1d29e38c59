"""Other programs send files: `POST /send` with a form, and `bridge send --file`."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import os
import tempfile
from contextlib import suppress

import jsonschema
import orjson
import pytest
from aiohttp import ClientError, FormData

from bridge.cli.client import Refused
from bridge.cli.main import app as command
from bridge.cli.terminal import UsageError
from bridge.ops.admin import forms
from bridge.ops.openapi import openapi
from bridge.testing.providers import Trouble
from tests.bridge.outbox.test_send_over_http import ADMIN, SEND, sending
from tests.bridge.outbox.trips import USER

# Whatever a form is made of may be in a file too.
PDF = b"%PDF-1.7\r\n--boundary\r\n\r\n\x00\xff\r\n--\r\n"
RAW = {"Content-Type": "multipart/form-data; boundary=x"}
HEADERS = {"Authorization": f"Bearer {SEND}"}


def form(file: bytes = PDF, name: str = "invoice.pdf", kind: str | None = None, **body) -> FormData:
    made = FormData()
    message = orjson.dumps({"to": USER, "via": "whatsapp", **body})
    made.add_field("message", message.decode(), content_type="application/json")
    made.add_field("file", io.BytesIO(file), filename=name, content_type=kind)
    return made


def part(name: bytes, content: bytes, filename: bytes = b"a.pdf") -> bytes:
    """Return one part of a form with the boundary x, as it stands on the wire."""
    disposition = b'form-data; name="' + name + b'"; filename="' + filename + b'"'
    return b"--x\r\nContent-Disposition: " + disposition + b"\r\n\r\n" + content + b"\r\n"


async def post(send, data, status: int = 200, **headers: str):
    async with send._session.post("/send", data=data, headers={**HEADERS, **headers}) as answer:
        told = await answer.json(content_type=None)
        assert answer.status == status, told
        return told


def uploads(send) -> int:
    return sum(each.url.endswith("/media") for each in send.trip.provider.requests)


async def test_a_file_goes_out_with_its_name_and_its_type():
    """The provider has the bytes, and the user a document with its caption."""
    async with sending() as send:
        told = await post(send, form(caption="Yours", wait=10))
        assert told["outcome"]["status"] == "accepted"
        (arrived,) = send.trip.provider.arrived
        document = arrived.body["document"]
        assert send.trip.provider.simulation.files[document.pop("id")] == PDF
        assert document == {"caption": "Yours", "filename": "invoice.pdf"}
        schema = {**openapi()["components"]["schemas"]["Sending"]}
        jsonschema.validate(told, schema | {"components": openapi()["components"]})


@pytest.mark.parametrize(
    ("name", "kind", "body", "shown"),
    [
        ("a.png", "application/octet-stream", {}, "image"),
        ("scan", "image/png", {}, "image"),
        ("a.ogg", "audio/ogg", {"media": "voice"}, "audio"),
        ("Größe.png", None, {"media": "document"}, "document"),
    ],
)
async def test_how_a_file_is_shown(name, kind, body, shown):
    """As its type says, else as its name does, and as one wants it."""
    async with sending() as send:
        await post(send, form(name=name, kind=kind, wait=10, **body))
        assert send.trip.provider.arrived[0].body["type"] == shown


async def test_a_file_goes_out_once_per_key():
    """The same file under the same key is the same message, and is not uploaded again."""
    async with sending() as send:
        told = await post(send, form(key="k", wait=10))
        again = await post(send, form(), **{"Idempotency-Key": "k"})
        assert (again["message_id"], again["is_new"]) == (told["message_id"], False)
        assert uploads(send) == 1
        conflict = await post(send, form(PDF + b"!", key="k"), 409)
        assert conflict["detail"] == "something else was sent under the key 'k'"
        await post(send, form(key="k", caption="another"), 409)
        assert (uploads(send), len(send.trip.provider.arrived)) == (1, 1)


async def test_a_dry_run_uploads_nothing():
    """It shows the request, in which the file's checksum stands for its id."""
    async with sending() as send:
        told = await post(send, form(dry_run=True))
        (request,) = told["requests"]
        assert request["body"]["document"]["id"] == hashlib.sha256(PDF).hexdigest()
        assert send.trip.provider.requests == []


async def test_what_makes_no_sense_is_told():
    """Each mistake has its status and words; nothing is uploaded and nothing is kept."""
    async with sending() as send:
        for data, status, said in [
            (form(b""), 422, "the file is empty"),
            (form(name="file"), 422, "nothing tells the file's type"),
            (form(kind="x"), 422, "mime_type: expected one such as"),
            (form(media="film"), 422, "media: expected one of"),
            (form(text="hi"), 400, "expected an object with adapt, caption"),
            (form(caption=5), 400, "caption: expected a string"),
            (form(to=""), 400, "to: missing"),
            (form(via="nobody"), 400, "via"),
            (
                part(b"file", b".", b"\xff.pdf") + b"--x--",
                400,
                "its name has characters that cannot be printed",
            ),
            (part(b"message", b"{") + b"--x--", 400, "expected the parts"),
            (part(b"message", b"{") + part(b"file", b".") + b"--x--", 400, "the body is not JSON"),
            (part(b"who", b"."), 400, 'expected the parts "message"'),
            (part(b"file", b"a") + part(b"file", b"b"), 400, "expected the parts"),
            (b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y", 400, "expected"),
            (part(b"file", b"abc"), 400, "is no multipart/form-data as"),
            (b"anything else", 400, "is no multipart/form-data as it should be"),
            (b"--x--\r\n", 400, "expected the parts"),
        ]:
            kind = RAW if isinstance(data, bytes) else {}
            assert said in (await post(send, data, status, **kind))["detail"]
        await post(send, b"", 400, **{"Content-Type": "multipart/form-data"})
        assert send.trip.provider.requests == []
        assert (await send.trip.bridge.journal.follow()).position == 0


async def test_a_type_that_the_channel_does_not_carry():
    """RCS takes PDF as its only documents, and INCS no uploads at all."""
    async with sending("rcs") as send:
        told = await post(send, form(name="a.zip", via="rcs"), 422)
        assert told["detail"] == "RCS for Business: application/zip is none of application/pdf"
    async with sending("incs") as send:
        assert "send a link" in (await post(send, form(via="incs:30058"), 422))["detail"]


async def endless():
    yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n\r\n'
    while True:
        yield b"x" * 4096
        await asyncio.sleep(0)


async def test_a_file_that_is_too_large_is_not_read_to_its_end(monkeypatch):
    """Neither one that announces its size, nor one that does not; and few are read at a time."""
    monkeypatch.setattr(forms, "MAX_SIZE", 100_000)
    async with sending() as send:
        for data in (form(b"x" * 100_001), form(b"x" * 3_000_000)):
            told = await post(send, data, 413)
            assert told["detail"].startswith("the file is larger than")
        with suppress(ClientError):  # the answer comes while it is still being sent
            await post(send, endless(), 413, **RAW)
        assert send.trip.provider.requests == []


async def test_only_so_many_files_are_taken_at_once():
    """A file that comes slowly holds a place; one too many is to be sent again."""
    begun = 0

    async def slow():
        nonlocal begun
        begun += 1
        yield b"--x\r\n"
        await asyncio.Event().wait()

    async with sending() as send:
        tasks = [asyncio.create_task(post(send, slow(), **RAW)) for _ in range(4)]
        async with asyncio.timeout(10):
            while begun < 4:
                await asyncio.sleep(0)
            while (told := await tried(send)) is None:
                pass
        assert "4 files are being taken already" in told
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def tried(send) -> str | None:
    headers = {**HEADERS, "Idempotency-Key": "k"}
    async with send._session.post("/send", data=form(), headers=headers) as answer:
        return None if answer.status == 200 else (await answer.json(content_type=None))["detail"]


async def test_a_file_that_comes_too_slowly(monkeypatch):
    """It is given up."""
    monkeypatch.setattr(forms, "_IN_TIME", 0.01)

    async def slow():
        yield b"--x\r\n"
        await asyncio.Event().wait()

    async with sending() as send:
        assert "too long" in (await post(send, slow(), 408, **RAW))["detail"]


async def test_a_disk_without_room(monkeypatch):
    """The request is refused, and says why."""

    def full(**_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", full)
    async with sending() as send:
        told = await post(send, form(), 507)
        assert told["detail"] == "the file cannot be kept: No space left on device"


async def test_a_provider_that_does_not_take_it_now(tmp_path, monkeypatch):
    """Nothing is kept, and the same request may be sent again; nothing of it stays on the disk."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with sending() as send:
        send.trip.provider.troubles.append(Trouble.DOWN)
        told = await post(send, form(key="k"), 503)
        assert told["detail"]
        assert (await send.trip.bridge.journal.follow()).position == 0
        assert (await post(send, form(key="k", wait=10)))["is_new"]
    assert [*tmp_path.iterdir()] == []


async def test_the_command(tmp_path, capsys):
    """`bridge send --file` streams the file, and says what is wrong where it cannot."""
    path = tmp_path / "Größe 1.pdf"
    path.write_bytes(PDF * 100_000)  # more than one piece
    async with sending() as send:
        port = send.trip.url.rpartition(":")[2]
        config = tmp_path / "config.toml"
        config.write_text(f'[admin]\nport = {port}\ntoken = "{ADMIN}"\n')

        async def run(*words: str) -> int:
            tokens = ["send", USER, *words, "--via", "whatsapp", "--config", str(config)]
            return await asyncio.to_thread(
                command, tokens, exit_on_error=False, result_action="return_value"
            )

        assert await run("--file", str(path), "--caption", "Yours", "--key", "k") == 0
        document = send.trip.provider.arrived[0].body["document"]
        assert send.trip.provider.simulation.files[document.pop("id")] == PDF * 100_000
        assert document == {"caption": "Yours", "filename": "Größe 1.pdf"}
        assert await run("--file", str(path), "--dry-run") == 0
        assert '"type": "document"' in capsys.readouterr().out
        scan = tmp_path / "scan"
        scan.write_bytes(b"GIF89a")
        with pytest.raises(Refused, match="nothing tells the file's type"):
            await run("--file", str(scan))
        assert await run("--file", str(scan), "--mime-type", "image/png") == 0
        assert send.trip.provider.arrived[1].body["type"] == "image"
        huge = tmp_path / "huge.pdf"
        with huge.open("wb") as file:
            file.truncate(101 << 20)
        with pytest.raises(Refused, match="the file is larger than 100 MiB"):
            await run("--file", str(huge))
        for words, said in [
            (("--file", str(tmp_path / "missing.pdf")), "nothing is at"),
            (("--file", str(tmp_path)), "no regular file is at"),
            (("--file", str(path), "--template", "x"), "give either a text"),
            (("hello", "--caption", "x"), "are for a --file"),
        ]:
            with pytest.raises(UsageError, match=said):
                await run(*words)
