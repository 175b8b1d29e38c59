"""HTTP responses of our server, of applications and of the operators' listener.

Only this module knows the status codes of callbacks.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import orjson
from aiohttp import hdrs, web
from multidict import CIMultiDict

from bridge.adapter import ACKNOWLEDGED, Response
from bridge.errors import (
    BodyRefused,
    BridgeError,
    Fault,
    JournalError,
    MalformedBody,
    MethodRefused,
    NotAuthentic,
    UnknownAdapter,
)
from bridge.journal.protocol import Health

HEADERS: Final = {"Server": "incs-bridge", "X-Content-Type-Options": "nosniff"}
ACKNOWLEDGING: Final = CIMultiDict({**HEADERS, "Content-Type": ACKNOWLEDGED.content_type})

ALIVE: Final = Response(body=b"alive\n")
"""The response to `/healthz`."""

_PROBLEM: Final = "application/problem+json"
_RETRY_AFTER: Final = {"Retry-After": "5"}  # seconds
_NO_HEADERS: Final[Mapping[str, str]] = {}
_FAULTS: Final[Mapping[Fault, int]] = {
    Fault.TOO_LARGE: 413,
    Fault.ENCODED: 415,
    Fault.LATE: 408,
    Fault.BROKEN_OFF: 400,
    Fault.NO_MEMORY: 503,
}


def response_to(error: BridgeError) -> Response:
    """Return the response to a provider for an error: a problem (RFC 9457) without details.

    For programs that receive callbacks with a web framework of their own.
    """
    match error:
        case NotAuthentic():
            return problem(401, "the callback is not authentic")
        case MalformedBody():
            line, column, offset = error.line, error.column, error.offset
            return problem(400, str(error), line=line, column=column, offset=offset)
        case BodyRefused():
            headers = _RETRY_AFTER if error.fault is Fault.NO_MEMORY else _NO_HEADERS
            return problem(_FAULTS[error.fault], str(error), headers=headers)
        case MethodRefused():
            return problem(405, str(error), headers={"Allow": ", ".join(sorted(error.allowed))})
        case UnknownAdapter():
            return problem(404, "there is nothing here")
        case JournalError():
            detail = "the callback could not be stored: send it again"
            return problem(503, detail, headers=_RETRY_AFTER)
        case _:
            detail = "the callback could not be taken: send it again"
            return problem(503, detail, headers=_RETRY_AFTER)


def problem(
    status: int, detail: str, headers: Mapping[str, str] = _NO_HEADERS, **more: int
) -> Response:
    """Return a problem response (RFC 9457)."""
    body = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return Response(status=status, body=orjson.dumps(body), content_type=_PROBLEM, headers=headers)


def readiness(health: Health) -> Response:
    """Return the response to `/readyz`."""
    status, word = (200, "ready") if health.ready else (503, "not ready")
    told = word if health.reason is None else f"{word}: {health.reason}"
    return Response(status=status, body=f"{told}\n".encode())


def web_response(response: Response) -> web.Response:
    """Return a response as aiohttp's; it ends the connection if its headers say so."""
    made = web.Response(
        status=response.status,
        body=response.body,
        headers=(
            {**HEADERS, **response.headers, "Content-Type": response.content_type}
            if response is not ACKNOWLEDGED
            else ACKNOWLEDGING
        ),
    )
    if response.headers.get(hdrs.CONNECTION) == "close":
        made.force_close()
    return made
