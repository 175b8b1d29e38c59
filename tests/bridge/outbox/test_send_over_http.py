"""Other programs send: `POST /send` on the operators' listener, and `bridge send`."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import jsonschema
import orjson
import pytest
from aiohttp import ClientSession

from bridge.adapter.signing import Secret
from bridge.cli.client import Refused
from bridge.cli.main import app as command
from bridge.cli.terminal import UsageError
from bridge.ops.admin import listening
from bridge.ops.metrics import Metrics
from bridge.ops.openapi import openapi
from bridge.settings import AdminSettings
from tests.bridge.outbox.test_consent import choose
from tests.bridge.outbox.trips import USER, Told, planned, under_way

ADMIN, SEND = "a-token-for-everything", "a-token-for-sending"
SETTINGS = AdminSettings(port=0, token=Secret(ADMIN), send_token=Secret(SEND))
TEMPLATE = {"kind": "template", "name": "hello_again", "language": "en"}


class Sender:
    def __init__(self, trip, session: ClientSession) -> None:
        self.trip = trip
        self._session = session

    async def __call__(self, status: int = 200, *, token: str = SEND, headers=None, **body):
        headers = {"Authorization": f"Bearer {token}", **(headers or {})}
        async with self._session.post("/send", data=orjson.dumps(body), headers=headers) as answer:
            told = await answer.json(content_type=None)
            assert answer.status == status, told
            return told


@asynccontextmanager
async def sending(name: str = "whatsapp"):
    async with planned(name) as trip:
        metrics = Metrics()
        trip.bridge.observe(metrics)
        async with (
            under_way(trip),
            listening(trip.bridge.operators, metrics, SETTINGS) as url,
            ClientSession(url) as session,
        ):
            trip.provider.rules.window = None
            trip.url = url
            yield Sender(trip, session)


async def test_a_message_goes_out_once_per_key():
    """The answer names the message, and with `wait` tells what came of it; a key counts once."""
    async with sending() as send:
        told = await send(to=USER, via="whatsapp", text="hi", key="k", wait=10, until="read")
        assert (told["key"], told["is_new"]) == ("k", True)
        assert told["outcome"]["current"] == "read"
        assert told["outcome"]["correlation"] == "k"
        header = {"Idempotency-Key": '"k"'}
        again = await send(to=USER, via="whatsapp", text="hi", headers=header)
        assert (again["message_id"], again["is_new"]) == (told["message_id"], False)
        await send(409, to=USER, via="whatsapp", text="bye", key="k")
        assert send.trip.said == ["hi"]
        schema = {**openapi()["components"]["schemas"]["Sending"], **_components()}
        jsonschema.validate(told, schema)


def _components():
    return {"components": openapi()["components"]}


async def test_who_sends_is_on_record(caplog):
    """Each message that a token sends is a line with its name, and one that is refused as well."""
    caplog.set_level(logging.INFO, "bridge.audit")
    async with sending() as send:
        await send(to=USER, via="whatsapp", text="hi", key="k", wait=10, until="read")
        await send(409, to=USER, via="whatsapp", text="bye", key="k", token=ADMIN)
    told = [
        (r.operator, r.action, getattr(r, "count", None), r.outcome)
        for r in caplog.records
        if r.name == "bridge.audit"
    ]
    assert told == [("send_token", "send", 1, "done"), ("token", "send", None, "failed")]
    assert USER[1:] not in caplog.text


async def test_contents_and_what_is_asked_of_them():
    """A content, a template in its place, other ways and times are as in events."""
    async with sending("incs") as send:
        menu = {"kind": "menu", "text": "?", "options": [{"id": "a", "title": "A"}]}
        await send(
            to=USER,
            via="30058",
            content=menu,
            otherwise=TEMPLATE,
            fallback=["viber"],
            not_before="2026-01-01T00:00:00Z",
            expires="1h",
            adapt="strict",
            wait="5s",
        )
        (arrived,) = send.trip.provider.arrived
        assert arrived.body["interactive"]["type"] == "button"


async def test_a_dry_run_sends_nothing():
    """The requests are shown without their secrets."""
    async with sending() as send:
        told = await send(to=USER, via="whatsapp", text="hi", dry_run=True)
        (request,) = told["requests"]
        assert request["method"] == "POST"
        assert request["headers"]["Authorization"] == "********"
        assert request["body"]["text"] == {"body": "hi"}
        assert send.trip.provider.requests == []


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, {"via": "whatsapp", "text": "hi"}, "to: missing"),
        (400, {"to": USER, "via": "whatsapp"}, "either a text or a content"),
        (400, {"to": USER, "via": "whatsapp", "text": "hi", "adapt": "no"}, "adapt: expected one"),
        (400, {"to": USER, "via": "whatsapp", "content": {"kind": "x"}}, "no content has this"),
        (400, {"to": USER, "via": "whatsapp", "text": "hi", "sender": "me"}, "expected an object"),
        (400, {"to": USER, "via": "whatsapp", "text": "hi", "wait": 900}, "wait"),
        (400, {"to": USER, "via": "whatsapp", "text": "hi", "until": "gone"}, "until"),
        (400, {"to": USER, "via": "whatsapp", "text": "hi", "fallback": "x"}, "fallback"),
        (400, {"to": USER, "via": "whatsapp", "text": "hi", "otherwise": {"kind": "text",
         "text": "x"}}, "otherwise: expected a template"),
        (400, {"to": USER, "via": "whatsapp", "text": "hi", "wait": True}, "wait"),
        (400, {"to": USER, "via": "whatsapp", "text": "hi", "key": ""}, "key: empty"),
        (400, {"to": USER, "via": "whatsapp", "text": "hi", "dry_run": "true"}, "dry_run"),
        (400, {"to": USER, "via": "whatsapp", "text": "hi", "dry_run": 1}, "dry_run"),
        (400, {"to": USER, "via": "whatsapp", "text": "hi", "force": "no"}, "force"),
        (400, {"to": USER, "via": "nobody", "text": "hi"}, "via"),
        (422, {"to": USER, "via": "whatsapp", "text": "hi", "expires": "soon"}, "expires"),
        (422, {"to": USER, "via": "whatsapp", "content": {"kind": "deletion",
         "message_id": "1"}}, "cannot be taken back"),
    ],
)  # fmt: skip
async def test_what_makes_no_sense_is_told(status, body, said):
    """Each mistake has its status and words, and nothing is kept."""
    async with sending() as send:
        told = await send(status, **body)
        assert said in told["detail"]
        assert (await send.trip.bridge.journal.follow()).position == 0


async def test_a_header_without_a_key_is_none():
    """Who wants a message sent once is not left without a key in silence."""
    async with sending() as send:
        for header in ("", '""'):
            told = await send(
                400, to=USER, via="whatsapp", text="hi", headers={"Idempotency-Key": header}
            )
            assert told["detail"] == "key: empty"
        assert (await send.trip.bridge.journal.follow()).position == 0
        assert await send(to=USER, via="whatsapp", text="hi", key=None, fallback=None)


async def test_the_token_for_sending_is_for_nothing_else():
    """It opens `POST /send`; reading events takes the operators' token, which sends too."""
    async with sending() as send:
        await send(401, to=USER, via="whatsapp", text="hi", token="wrong")
        await send(to=USER, via="whatsapp", text="hi", token=ADMIN)
        headers = {"Authorization": f"Bearer {SEND}"}
        async with send._session.get("/events", headers=headers) as answer:
            assert answer.status == 401


async def test_the_status_tells_of_sending(tmp_path, capsys):
    """`bridge status` has a line for what is yet to go out, and what was given up."""
    async with sending() as send:
        await send(to=USER, via="whatsapp", text="hi", wait=5)
        config = tmp_path / "config.toml"
        port = send.trip.url.rpartition(":")[2]
        config.write_text(f'[admin]\nport = {port}\ntoken = "{ADMIN}"\n')
        tokens = ["status", "--config", str(config)]
        expected = "sends\t0 messages to go out, 0 given up\n"
        async with asyncio.timeout(30):  # the provider's callbacks are yet to come
            while expected not in capsys.readouterr().out:
                await asyncio.to_thread(
                    command, tokens, exit_on_error=False, result_action="return_value"
                )


@asynccontextmanager
async def commanding(tmp_path):
    """Give what runs `bridge send` against a server, and that server's trip."""
    async with sending() as send:
        config = tmp_path / "config.toml"
        port = send.trip.url.rpartition(":")[2]
        config.write_text(f'[admin]\nport = {port}\ntoken = "{ADMIN}"\n')

        async def run(*words: str) -> int:
            tokens = ["send", USER, *words, "--via", "whatsapp", "--config", str(config)]
            return await asyncio.to_thread(
                command, tokens, exit_on_error=False, result_action="return_value"
            )

        yield run, send.trip


async def test_the_command(tmp_path, capsys):
    """`bridge send` prints our id and how far it came, or why it failed, as its exit code says."""
    async with commanding(tmp_path) as (run, trip):
        assert await run("hello", "--key", "k") == 0
        assert capsys.readouterr().out.split("\t")[1].strip() in ("accepted", "sent", "delivered")
        trip.provider.rules.templates = set()
        assert await run("--template", "hello_again", "--language", "en") == 1
        assert "132001" in capsys.readouterr().err
        assert await run("--content", '{"kind": "text", "text": "x"}', "--dry-run") == 0
        assert orjson.loads(capsys.readouterr().out)["body"]["text"] == {"body": "x"}
        for wrong in ((), ("--content", "{")):
            with pytest.raises(UsageError, match=r"give either|not JSON"):
                await run(*wrong)


async def test_the_command_gives_a_template_for_a_closed_window(tmp_path):
    """With `--otherwise`, by its name or as JSON, it goes where a text comes too late."""
    parameters = [{"component": "body", "type": "text", "value": "17"}]
    with_values = orjson.dumps({**TEMPLATE, "parameters": parameters}).decode()
    async with commanding(tmp_path) as (run, trip):
        trip.provider.clock = lambda: datetime.now(UTC) - timedelta(hours=25)
        await trip.say()
        await trip.until(lambda: trip.events)
        with pytest.raises(Refused, match="a free-form message could go until"):
            await run("hello?")
        assert await run("hello?", "--otherwise", "hello_again", "--language", "en") == 0
        assert await run("hello?", "--otherwise", with_values) == 0
        with pytest.raises(UsageError, match="--otherwise is not JSON"):
            await run("hello?", "--otherwise", "{")
        with pytest.raises(Refused, match="otherwise: expected a template"):
            await run("hello?", "--otherwise", '{"kind": "text", "text": "x"}')
        named, filled = (arrived.body["template"] for arrived in trip.provider.arrived)
        assert (named["name"], named["language"]) == ("hello_again", {"code": "en"})
        assert filled["components"][0]["parameters"][0]["text"] == "17"


async def test_the_command_insists(tmp_path):
    """With `--force`, marketing goes to a user who has opted out; without, it is refused."""
    content = orjson.dumps({**TEMPLATE, "category": "marketing"}).decode()
    async with commanding(tmp_path) as (run, trip):
        await choose(Told(trip), "stop")
        with pytest.raises(Refused, match="opted out"):
            await run("--content", content)
        assert await run("--content", content, "--force") == 0
        (arrived,) = trip.provider.arrived
        assert arrived.body["template"]["name"] == "hello_again"


async def test_what_is_typed_is_no_text(tmp_path):
    """An argument in another encoding is a mistake of whoever types it, and nothing is kept."""
    async with commanding(tmp_path) as (run, trip):
        for typed in (("caf\udce9",), ("--template", "caf\udce9", "--language", "en")):
            with pytest.raises(UsageError, match="an argument is not UTF-8"):
                await run(*typed)
        assert (await trip.bridge.journal.follow()).position == 0


def test_the_document_is_an_openapi():
    """Every reference in it leads somewhere, and a request is described."""
    document = openapi()
    text = orjson.dumps(document).decode()
    names = {each.partition('"')[0] for each in text.split("#/components/schemas/")[1:]}
    assert names <= document["components"]["schemas"].keys()
    request = {**document["components"]["schemas"]["Send"], **_components()}
    jsonschema.validate({"to": USER, "via": "whatsapp", "content": TEMPLATE}, request)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"to": USER, "text": "hi"}, request)
