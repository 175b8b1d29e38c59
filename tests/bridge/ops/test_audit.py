"""What operators do is on record: when, from where, as whom, what, and how many."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager

import pytest
from aiohttp.test_utils import TestClient, TestServer

from bridge.adapter.signing import Secret
from bridge.errors import ConfigurationError
from bridge.journal.memory import MemoryJournal
from bridge.journal.protocol import Start
from bridge.model import Message
from bridge.ops.admin import application
from bridge.ops.audit import hashed
from bridge.ops.metrics import Metrics
from bridge.runtime import Bridge
from bridge.settings import AdminSettings, DeliverySettings
from tests.bridge.events import USER_PHONE, message, unrecognized
from tests.bridge.serving import PATIENCE

ALICES, WALLBOARDS, OWN = "alices-token", "wallboards-token", "own-token"
SENDERS = "senders-token"
SETTINGS = AdminSettings(
    token=Secret(OWN),
    tokens={"alice": Secret(ALICES)},
    readers={"wallboard": Secret(WALLBOARDS)},
    send_token=Secret(SENDERS),
)


class Broken(MemoryJournal):
    async def purge(self, subject):
        raise OSError


@asynccontextmanager
async def served(settings: AdminSettings = SETTINGS, journal=None):
    """Serve operators of a bridge with a dead letter, and give a function that asks."""
    bridge = Bridge(journal=journal or MemoryJournal())
    metrics = Metrics()
    bridge.observe(metrics)

    @bridge.on(Message, name="crm", policy=DeliverySettings(tries=1))
    def fail(_: object) -> None:
        raise ValueError

    app = application(bridge.operators, metrics, settings)
    async with bridge, TestServer(app) as server, TestClient(server) as client:
        await bridge.journal.append([message("a"), unrecognized("x")])
        async with asyncio.timeout(PATIENCE):
            while not await bridge.journal.dead_letters():
                await asyncio.sleep(0.001)

        async def ask(method: str, path: str, token: str | None = ALICES, **body) -> int:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            async with client.request(method, path, headers=headers, json=body or None) as response:
                await response.read()
                return response.status

        ask.bridge, ask.metrics = bridge, metrics
        yield ask


def told(caplog) -> list[tuple]:
    """Return who did what, how many and what became of it, of each line of the record."""
    return [
        (r.operator, r.action, getattr(r, "count", None), r.outcome)
        for r in caplog.records
        if r.name == "bridge.audit"
    ]


async def test_every_change_is_recorded_as_whose_it_is(caplog):
    """Each kind of change is one line with the name of the token, the place and the number."""
    caplog.set_level(logging.INFO)
    async with served() as ask:
        await ask.bridge.journal.subscribe("former", start=Start.BEGINNING)
        assert await ask("POST", "/replay", keys=["message/whatsapp/a"]) == 200
        assert await ask("POST", "/replay", keys=["message/whatsapp/a"], dry_run=True) == 200
        assert await ask("POST", "/reparse", keys=["unrecognized/whatsapp/x"]) == 200
        assert await ask("DELETE", "/subscribers/former") == 200
        assert await ask("DELETE", "/subscribers/crm") == 409
        assert await ask("GET", "/export") == 200
        assert await ask("POST", "/purge", OWN, subject=USER_PHONE) == 200
        await ask("POST", "/dead/drop", ids=None)
        await ask("POST", "/dead/retry", ids=[])
        rendered = (await ask.metrics.render(ask.bridge.operators)).decode()
    assert told(caplog)[:6] == [
        ("alice", "replay", 1, "done"),
        ("alice", "reparse", 0, "done"),
        ("alice", "forget", 1, "done"),
        ("alice", "forget", None, "failed"),
        ("alice", "export", told(caplog)[4][2], "done"),
        ("token", "purge", 1, "done"),
    ]
    assert [action for _, action, _, _ in told(caplog)[6:]] == ["drop", "retry"]
    assert {r.client for r in caplog.records if r.name == "bridge.audit"} == {"127.0.0.1"}
    assert 'bridge_operations_total{action="forget",outcome="failed"} 1.0' in rendered
    assert 'bridge_operations_total{action="purge",outcome="done"} 1.0' in rendered


async def test_a_subject_is_hashed(caplog):
    """The record of a purge tells no number; who knows the number finds its line."""
    caplog.set_level(logging.DEBUG)
    async with served() as ask:
        await ask("POST", "/purge", subject=USER_PHONE)
    (record,) = [r for r in caplog.records if r.name == "bridge.audit"]
    assert record.subject == hashed(USER_PHONE)
    assert USER_PHONE.removeprefix("+") not in str(record.__dict__)
    assert hashed(USER_PHONE) != hashed("+16505550000")


async def test_what_fails_is_recorded_too(caplog):
    """A change that ends with an error is on record as failed."""
    async with served(journal=Broken()) as ask:
        assert await ask("POST", "/purge", subject=USER_PHONE) == 500
    assert told(caplog) == [("alice", "purge", None, "failed")]


async def test_refusals_are_recorded(caplog):
    """Who has no token, a wrong one, or one that may only read, is on record with the reason."""
    async with served() as ask:
        assert await ask("GET", "/events", None) == 401
        assert await ask("GET", "/events", "wrong") == 401
        assert await ask("POST", "/dead/drop", WALLBOARDS, ids=None) == 403
        rendered = (await ask.metrics.render(ask.bridge.operators)).decode()
    assert told(caplog) == [
        ("nobody", "request", None, "refused"),
        ("wallboard", "request", None, "refused"),
    ]
    assert 'bridge_operations_total{action="request",outcome="refused"} 3.0' in rendered
    assert "wrong" not in caplog.text


async def test_readers_only_read():
    """A reader's token looks at everything, and changes nothing and takes nothing out."""
    async with served() as ask:
        for path in ("/events", "/status", "/subscribers", "/dead", "/metrics"):
            assert await ask("GET", path, WALLBOARDS) == 200
        assert await ask("POST", "/purge", WALLBOARDS, subject=USER_PHONE) == 403
        assert await ask("DELETE", "/subscribers/crm", WALLBOARDS) == 403
        assert await ask("GET", "/export", WALLBOARDS) == 403
        assert len(await ask.bridge.journal.dead_letters()) == 1


OPEN = {"/", "/healthz", "/readyz"}  # and the page's own files, which hold no data
LOOKING = {"/normalize"}


async def test_every_route_asks_for_its_token():
    """Of all routes that there are, each lets in what it should: law for those that come later.

    Nobody without a token, a reader to what changes nothing, and the token for sending to send.
    """
    app = application(Bridge(journal=MemoryJournal()).operators, Metrics(), SETTINGS)
    routes = {
        (route.method, route.resource.canonical.replace("{name}", "crm"))
        for route in app.router.routes()
    }
    assert {("POST", "/purge"), ("GET", "/events"), ("GET", "/export")} <= routes
    async with served() as ask:
        for method, path in sorted(routes):
            is_open = path in OPEN or path.startswith("/inspector/")
            for token in (None, SENDERS):
                if not (token == SENDERS and path == "/send"):
                    assert (await ask(method, path, token) == 401) is not is_open, path
            is_reading = method in {"GET", "HEAD"} and path != "/export"
            if path != "/events/follow":  # it would not end
                refused = await ask(method, path, WALLBOARDS) == 403
                assert refused is not (is_reading or path in LOOKING), path
        assert await ask("POST", "/send", SENDERS) == 400


async def test_a_stream_has_no_head():
    """A stream cannot be asked for its head alone, which would have no end."""
    async with served() as ask:
        for path in ("/events/follow", "/export"):
            assert await ask("HEAD", path) == 405


async def test_on_loopback_without_a_token_the_operator_is_local(caplog):
    """Where no token is set, the record says so; a program's own changes are its own."""
    caplog.set_level(logging.INFO)
    async with served(AdminSettings()) as ask:
        await ask("POST", "/dead/drop", None, ids=None)
        await ask.bridge.operators.drop([])
    assert told(caplog) == [("local", "drop", 1, "done"), ("program", "drop", 0, "done")]


def test_a_name_has_one_token():
    """A name in `tokens` and in `readers` would not say what its token may do."""
    with pytest.raises(ConfigurationError, match="is in tokens as well"):
        AdminSettings(tokens={"a": Secret("x")}, readers={"a": Secret("y")})
    with pytest.raises(ConfigurationError, match="is required"):
        AdminSettings(host="0.0.0.0")
    assert AdminSettings(host="0.0.0.0", readers={"a": Secret("y")}).own_token == Secret("y")
