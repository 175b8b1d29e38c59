"""What nobody proved costs next to nothing: refused before it is read, over real sockets."""

from __future__ import annotations

import io
import json

import orjson
import pytest
from aiohttp import ClientSession

from tests.bridge.providers import INNER, authentic, envelope, real_bridge
from tests.bridge.serving import serving

NESTED = b'{"a":"\\ud800","b":[' + b'["a"],' * 600_000 + b"1]}"
FORGED = {"X-Goog-Signature": "A" * 86 + "=="}


@pytest.fixture
def parsed(monkeypatch) -> list[int]:
    """Return the sizes of all texts that are read as JSON during the test."""
    sizes: list[int] = []

    def spied(loads):
        def spy(text, *args, **kwargs):
            sizes.append(len(text))
            return loads(text, *args, **kwargs)

        return spy

    monkeypatch.setattr(orjson, "loads", spied(orjson.loads))
    monkeypatch.setattr(json, "loads", spied(json.loads))
    return sizes


class TestRcs:
    """Only an envelope's string is signed, so it has to be found in a body of a stranger."""

    async def post(self, body: bytes, headers: dict[str, str]) -> int:
        async with serving(real_bridge(max_body=4 << 20)) as url, ClientSession(url) as client:
            data = io.BytesIO(body)
            async with client.post("/callbacks/rcs", data=data, headers=headers) as response:
                return response.status

    async def test_a_body_without_a_signature_is_not_read(self, parsed):
        """Whatever it holds, no JSON of it is read where no well-formed signature came."""
        for body in (NESTED, envelope(INNER), b"{}"):
            for headers in ({}, {"X-Goog-Signature": "?"}, {"X-Goog-Signature": "AAAA"}):
                assert await self.post(body, headers) == 401
        assert parsed == []

    async def test_a_forged_body_is_read_for_its_string_alone(self, parsed):
        """With a well-formed signature, some kilobytes around the string are read, and it."""
        large = b'{"message":{"data":"' + b"A" * 4_000_000 + b'"}}'
        for body in (NESTED, b'{"x":' + NESTED + b',"data":""}', large):
            parsed.clear()
            assert await self.post(body, FORGED) == 401
            assert [size for size in parsed if size > 16 << 10] in ([], [4_000_002])

    @pytest.mark.parametrize("text", ["short", "~?>" * 10_000])
    async def test_the_signed_string_is_found_wherever_it_stands(self, text):
        """Names of the same spelling around it, and escapes in it, hide nothing."""
        inner = orjson.dumps({**orjson.loads(INNER), "text": text})
        _, headers, sent = authentic("rcs", inner)
        data = json.loads(sent)["message"]["data"]
        escaped = data.replace("=", "\\u003d").replace("/", "\\/")
        for body in (
            f'{{"message": {{"data" : "{data}", "attributes": {{"data": "x"}}}}, "data": ""}}',
            f'{{"message":{{"data":"{escaped}"}}}}',
            f'{{"message": {{ "data"\n:\t"{data}"}}, "data": "y"}}',
        ):
            assert await self.post(body.encode(), headers) == 200
        for broken in (f'{{"message":{{"data":"{data}\\x"}}}}', f'{{"message":{{"data":"{data}'):
            assert await self.post(broken.encode(), headers) == 401
