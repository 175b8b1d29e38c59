"""A server of our own for the length of a block, and requests that no HTTP client would make."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs

from bridge.ingress.server import listening
from bridge.runtime import Bridge

PATIENCE = 60  # seconds until a test gives up; nothing depends on how long it really takes


@asynccontextmanager
async def serving(bridge: Bridge, **server) -> AsyncIterator[str]:
    """Serve a bridge on a free port until the block ends."""
    settings = attrs.evolve(bridge.server, port=0, **server)
    async with bridge, listening(bridge.intake, settings) as url:
        yield url


async def connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))


async def exchange(url: str, request: bytes, *, eof: bool = False) -> bytes:
    """Send these very bytes, and return everything until the server closes the connection."""
    reader, writer = await connect(url)
    try:
        writer.write(request)
        if eof:
            writer.write_eof()
        async with asyncio.timeout(PATIENCE):
            return await reader.read()
    finally:
        writer.close()


def post(path: str, *headers: bytes | str, body: bytes = b"", length: bool = True) -> bytes:
    """Write a request as it goes over the wire, with its true length unless told otherwise."""
    head = [f"POST {path} HTTP/1.1", "Host: bridge", *headers]
    if length:
        head.append(f"Content-Length: {len(body)}")
    lines = [line if isinstance(line, bytes) else line.encode("latin-1") for line in head]
    return b"\r\n".join((*lines, b"", body))


def statuses(answers: bytes) -> list[int]:
    """Return the status of each response in what came back."""
    return [int(answer[2:5]) for answer in answers.split(b"HTTP/1.")[1:]]
