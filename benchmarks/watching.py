"""What five open inspectors cost the server: `python -m benchmarks.watching`.

They cost a search about once a second each, however many callbacks come. So the measure is their
processor time in a second, as a share of one core, which is what a loaded server loses. Turns
with and without them alternate, and posting is as fast as the server takes it.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import islice
from pathlib import Path

import aiohttp
import attrs

from benchmarks.bodies import request, texts
from benchmarks.contenders import ADMIN_TOKEN, running
from benchmarks.figures import Faulty
from benchmarks.serving import DURABLE

_CONNECTIONS = 16
_INSPECTORS = 5
_HEADERS = {"Accept": "text/event-stream", "Authorization": f"Bearer {ADMIN_TOKEN}"}
_FOLLOWED = "/events/follow?limit=20&masked=true"  # as the page asks


async def _post(port: int, requests: Iterator[bytes]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for data in requests:
        writer.write(data)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.split(b"\r\n", 1)[0].decode())
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length or 0))
    writer.close()


@asynccontextmanager
async def _watched(url: str, many: int) -> AsyncIterator[list[int]]:
    """Follow events as so many browsers do; give how many bytes each has got."""
    got = [0] * many

    async def read(number: int, response: aiohttp.ClientResponse) -> None:
        async for chunk in response.content.iter_any():
            got[number] += len(chunk)

    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        tasks = []
        for number in range(many):
            asked = session.get(url + _FOLLOWED, headers=_HEADERS)
            response = await stack.enter_async_context(asked)
            tasks.append(asyncio.create_task(read(number, response)))
        yield got
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _measure(server, requests: int, turns: int) -> list[tuple[float, float]]:
    bodies = texts()
    shares = []
    for turn in range(turns + 1):
        seconds, spent = {}, {}
        for many in (0, _INSPECTORS) if turn % 2 else (_INSPECTORS, 0):
            prepared = iter([request(body, server.port) for body in islice(bodies, requests)])
            async with _watched(f"http://127.0.0.1:{server.admin_port}", many) as got:
                before, began = server.processor_time(), time.perf_counter()
                await asyncio.gather(*(_post(server.port, prepared) for _ in range(_CONNECTIONS)))
                spent[many] = server.processor_time() - before
                seconds[many] = time.perf_counter() - began
            if not all(got):
                raise Faulty("an inspector was told nothing")
        if turn:  # the first one warms up
            extra = spent[_INSPECTORS] - spent[0]
            shares.append((extra / seconds[_INSPECTORS], spent[0] / requests))
            print(
                f"turn {turn}: {spent[0]:.2f} s without, {spent[_INSPECTORS]:.2f} s with them "
                f"in {seconds[_INSPECTORS]:.1f} s: {shares[-1][0]:.1%} of a core"
            )
    return shares


def main(requests: int = 6000, turns: int = 6) -> None:
    """Print each turn, and the median of all."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running(attrs.evolve(DURABLE, admin=True), Path(folder)) as server,
    ):
        if isinstance(server, Faulty):
            raise SystemExit(str(server))
        shares = asyncio.run(_measure(server, requests, turns))
    share = statistics.median(share for share, _ in shares)
    each = statistics.median(each for _, each in shares)
    print(f"five inspectors take {share:.1%} of a core; a callback takes {each * 1e6:.0f} µs of it")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
