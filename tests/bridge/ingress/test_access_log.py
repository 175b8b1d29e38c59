"""Tokens in paths stay out of the access log of an application that a bridge is mounted in."""

from __future__ import annotations

import logging

import pytest
from aiohttp import web

from tests.bridge.fakes import TOKEN
from tests.bridge.ingress.test_web import BODY, a_bridge


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        (f"/callbacks/plain/{TOKEN}", "POST /callbacks/plain/MASKED HTTP/1.1"),
        (f"/callbacks/plain/{TOKEN}x?hub.verify_token={TOKEN}", "/callbacks/plain/MASKED"),
        (f"/callbacks/plain?token={TOKEN}", "/callbacks/plain/MASKED"),
        (f"/callbacks/misspelt/{TOKEN}", "/callbacks/MASKED"),
        ("/callbacks/plain", "POST /callbacks/plain HTTP/1.1"),
    ],
)
async def test_an_access_log_shows_no_token(aiohttp_server, aiohttp_client, caplog, path, logged):
    """Whatever is below an adapter's own path, and the query, are masked in the line."""
    caplog.set_level(logging.DEBUG)
    app = web.Application()
    a_bridge().mount(app)
    server = await aiohttp_server(app, access_log=logging.getLogger("aiohttp.access"))
    client = await aiohttp_client(server)
    await client.post(path, data=BODY)
    lines = [record.getMessage() for record in caplog.records if record.name == "aiohttp.access"]
    assert len(lines) == 1
    assert logged in lines[0]
    assert TOKEN not in caplog.text
