"""The bridge in an application of another framework: Starlette here, FastAPI alike.

The framework's request becomes a `Callback`, the `Response` or the error becomes its response.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bridge import (
    BodyRefused,
    Bridge,
    BridgeError,
    Callback,
    Fault,
    MemoryJournal,
    Message,
    response_to,
)
from bridge.adapters.incs import Incs, IncsSettings

TOKEN = "a token that INCS was told to send"  # noqa: S105 - an example
MAX_BODY = 4 * 1024 * 1024

bridge = Bridge(journal=MemoryJournal())
bridge.add_adapter("incs", Incs("incs", IncsSettings(tokens=(TOKEN,))))
seen: list[str] = []


@bridge.on(Message)
async def remember(message: Message) -> None:
    """Do what the application is there for."""
    seen.append(message.message_id)


async def body_of(request: Request) -> bytes:
    """Return the body, and no more of it than we are willing to hold."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise BodyRefused(Fault.TOO_LARGE)
    return bytes(body)


async def callbacks(request: Request) -> Response:
    """Take a callback, whatever becomes of it."""
    try:
        callback = Callback(
            method=request.method,
            tail=request.path_params["token"],
            headers=request.headers.items(),
            query=request.query_params.multi_items(),
            body=await body_of(request),
            received_at=datetime.now(UTC),
        )
        answer = await bridge.receive("incs", callback)
    except BridgeError as error:
        answer = response_to(error)
    headers = {**answer.headers, "Content-Type": answer.content_type}
    return Response(answer.body, answer.status, headers)


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    """Let the bridge run while the application does."""
    async with bridge:
        yield


app = Starlette(
    routes=[Route("/callbacks/incs/{token}", callbacks, methods=["POST", "GET", "PUT"])],
    lifespan=lifespan,
)
