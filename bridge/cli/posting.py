"""Post callbacks to a server: so fast, and so many at once."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import attrs
import orjson
from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, TCPConnector
from yarl import URL

from bridge.adapter import SignedRequest
from bridge.adapter.payload import mapping, text
from bridge.cli.planning import Plan, requests_of
from bridge.cli.samples import Target
from bridge.errors import BridgeError

_MAX_ANSWER: Final = 64 * 1024
_TIMEOUT: Final = ClientTimeout(total=30)


@attrs.frozen(kw_only=True)
class Answer:
    """What the server said to one request; `detail` is its own words, where it has some."""

    name: str
    status: int
    reason: str
    detail: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the callback was taken."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES


@attrs.frozen(kw_only=True)
class Summary:
    """What became of all requests."""

    statuses: Counter[int]
    accepted: int
    seconds: float

    @property
    def sent(self) -> int:
        """How many requests were answered."""
        return self.statuses.total()

    def __str__(self) -> str:
        """Return the line that ends a run."""
        per_second = self.sent / self.seconds if self.seconds else 0.0
        refused = self.sent - self.accepted
        return (
            f"{self.sent} sent, {self.accepted} accepted, {refused} refused, "
            f"{per_second:.0f} per second"
        )

    def is_as_expected(self, *, forged: bool) -> bool:
        """Return whether all were accepted, or, forged as they were, refused as such."""
        if forged:
            return self.statuses[HTTPStatus.UNAUTHORIZED] == self.sent
        return self.accepted == self.sent


class Broken(BridgeError):
    """The server could not be reached, or did not answer; `reason` gives no address away."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


async def post(plan: Plan, base: str, answered: Callable[[Answer], None]) -> Summary:
    """Post what is planned below a server's prefix; tell each answer as it comes.

    Raises `Broken` at the first request that gets none.
    """
    loop = asyncio.get_running_loop()
    statuses: Counter[int] = Counter()
    accepted = 0
    started = loop.time()
    requests = enumerate(requests_of(plan))
    connector = TCPConnector(limit=plan.concurrency)

    async def work(session: ClientSession) -> None:
        nonlocal accepted
        for index, (target, outgoing) in requests:
            if plan.rate is not None:
                await asyncio.sleep(started + index / plan.rate - loop.time())
            answer = await _post(session, base, target, outgoing)
            statuses[answer.status] += 1
            accepted += answer.accepted
            answered(answer)

    try:
        async with (
            ClientSession(timeout=_TIMEOUT, connector=connector) as session,
            asyncio.TaskGroup() as workers,
        ):
            for _ in range(min(plan.concurrency, len(plan))):
                workers.create_task(work(session))
    except ExceptionGroup as group:
        first = _first_of(group)
        if isinstance(first, ClientError | TimeoutError):
            # Not its text: that may hold the whole address, and with it the token.
            number = getattr(first, "errno", None)
            raise Broken(os.strerror(number) if number else type(first).__name__) from None
        raise first from None
    return Summary(statuses=statuses, accepted=accepted, seconds=loop.time() - started)


def _first_of(group: ExceptionGroup) -> Exception:
    first: Exception = group
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    return first


async def _post(
    session: ClientSession, base: str, target: Target, outgoing: SignedRequest
) -> Answer:
    url = f"{base}/{target.adapter}"
    if outgoing.tail:
        url += f"/{quote(outgoing.tail)}"
    headers = {"Content-Type": "application/json", **outgoing.headers}
    async with session.post(
        URL(url, encoded=True), data=outgoing.body, headers=headers, allow_redirects=False
    ) as response:
        return Answer(
            name=target.name,
            status=response.status,
            reason=response.reason or "",
            detail=await _detail(response),
        )


async def _detail(response: ClientResponse) -> str:
    """Return what a problem (RFC 9457) says is wrong, or nothing."""
    if response.content_type != "application/problem+json":
        return ""
    try:
        problem = orjson.loads(await response.content.read(_MAX_ANSWER))
    except orjson.JSONDecodeError:
        return ""
    return text(mapping(problem).get("detail")) or ""
