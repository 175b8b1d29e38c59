"""The operators' interface is what its OpenAPI document says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema
import orjson
import pytest

from bridge.adapter import Callback
from bridge.adapter.signing import Secret
from bridge.journal.protocol import Entry, Held, Retry
from bridge.ops.admin import application
from bridge.ops.admin.pages import is_page
from bridge.ops.admin.responses import dumps
from bridge.ops.metrics import Metrics
from bridge.ops.openapi import openapi
from bridge.runtime import Bridge
from bridge.settings import AdminSettings
from tests.bridge.events import NOON, message, sent, status, unrecognized
from tests.bridge.fakes import TOKEN
from tests.bridge.model.test_schema import closed
from tests.bridge.ops.test_admin import operated

DOCUMENT: Any = openapi()
PATHS: Mapping[str, Mapping[str, Any]] = DOCUMENT["paths"]
BODIES = [path for path, methods in PATHS.items() if "requestBody" in methods.get("post", {})]
VALUES = {
    "kind": "message",
    "since": "2026-01-31T12:00:00Z",
    "until": "2026-01-31T12:00:00Z",
    "party": "+6281519140327",
    "conversation_of": "1",
    "after": "1",
    "before": "9",
    "limit": "5",
} | dict.fromkeys(("mended", "newest_first", "masked"), "true")


def faults(path: str, method: str, told: Any) -> list[str]:
    """Return what an answer holds that is not described, and what it lacks."""
    answer = PATHS[path][method]["responses"]["200"]["content"]["application/json"]["schema"]
    schema = closed({**answer, "components": DOCUMENT["components"]})
    return [
        f"{path} {error.json_path}: {error.message[:200]}"
        for error in jsonschema.Draft202012Validator(schema).iter_errors(told)
    ]


def test_every_route_is_described():
    """Each operation that the listener answers is in the document, and no other."""
    bridge, metrics = Bridge(), Metrics()
    app = application(bridge.operators, metrics, AdminSettings(token=Secret("t" * 20)))
    routed = {
        (route.resource.canonical, route.method.lower())
        for route in app.router.routes()
        if route.method != "HEAD" and route.resource is not None
    }
    described = {(path, method) for path, methods in PATHS.items() for method in methods}
    assert {each for each in routed if not is_page(each[0])} == described


async def test_every_answer_is_as_described():
    """Nothing that is always there lacks, and nothing comes that is not described."""
    async with operated() as one:
        one.crm.refused.add(message("b").key)
        await one.publish(
            message("a"), message("b"), unrecognized("?"), sent("c"), status(message_id="c")
        )
        for path in ("/status", "/events", "/subscribers", "/dead", "/outbox"):
            assert faults(path, "get", await one.get(path)) == []
        body = b'{"messages": [{"id": "d", "text": "hello"}]}'
        come = Callback(body=body, tail=TOKEN, received_at=NOON, headers={"Accept": "*/*"})
        await one.bridge.receive("plain", come)
        for key in (message("b").key, sent("c").key, "plain/message/plain/d"):
            assert faults("/event", "get", await one.get("/event", key=key)) == []
        retry = Retry(tries=1, due_at=1.0, first_failed_at=1.0, failed_at=1.0, error="?")
        entry = Entry(position=1, lane="", event=message("a"))
        await one.get("/subscribers/crm/held")
        held = orjson.loads(dumps({"held": [Held(entry=entry, retry=retry)]}))
        assert faults("/subscribers/{name}/held", "get", held) == []
        for path, body in (
            ("/dead/retry", {"subscriber": "crm"}),
            ("/dead/drop", {}),
            ("/replay", {"keys": [message("a").key, "unknown"]}),
            ("/replay", {"subscriber": "crm"}),
            ("/reparse", {"keys": [unrecognized("?").key, "unknown"]}),
            ("/normalize", {"adapter": "plain", "body": "{"}),
            ("/purge", {"subject": "+16505550000"}),
        ):
            assert faults(path, "post", await one.post(path, **body)) == []


@pytest.mark.parametrize("path", BODIES)
async def test_every_name_in_a_body_is_described(path):
    """Another is refused with those that would do, which are the document's."""
    content = PATHS[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    if "$ref" in content:
        content = DOCUMENT["components"]["schemas"][content["$ref"].rpartition("/")[2]]
    async with operated() as one:
        told = await one.post(path, 400, another=1)
    names = told["detail"].removeprefix("expected an object with ").split(", ")
    assert set(names) == content["properties"].keys()


@pytest.mark.parametrize("path", ["/events", "/events/follow"])
async def test_every_parameter_of_a_search_is_taken(path):
    """Each that is described, and no other."""
    named = {each["name"] for each in PATHS[path]["get"]["parameters"]}
    async with operated() as one:
        await one.publish(message("a"))
        for name in named:
            response = await one.client.get(path, params={name: VALUES.get(name, "x")})
            assert response.status == 200, name
            response.close()
        assert "unknown: another" in (await one.get("/events", 400, another="1"))["detail"]


async def test_refusals_are_problems():
    """What is refused is answered as the document says."""
    async with operated() as one:
        told = await one.post("/replay", 404, keys=[], subscriber="nobody")
    jsonschema.validate(told, closed(DOCUMENT["components"]["schemas"]["Problem"]))


@pytest.mark.parametrize("path", PATHS)
def test_who_is_let_in(path):
    """Probes need no token, all else does; what changes something is not for a reader's."""
    for method, operation in PATHS[path].items():
        codes = operation["responses"].keys()
        is_probe = operation.get("security") == []
        assert is_probe is (path in ("/healthz", "/readyz"))
        assert ("401" in codes) is not is_probe
        reads = method == "get" and path != "/export"
        assert ("403" in codes) is not (reads or path in ("/normalize", "/send"))
