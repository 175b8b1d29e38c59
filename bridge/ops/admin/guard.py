"""Who is let in, and what they are told when something is wrong.

A web page in the browser of somebody on this machine reaches loopback too. Requests of other
sites' pages are refused, by what browsers say of them (https://www.w3.org/TR/fetch-metadata/);
without a token also those by a name that is not this machine's, which leads here all the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Final, TypeAlias

from aiohttp import web
from aiohttp.typedefs import Middleware

from bridge.adapter.signing import Tokens
from bridge.errors import (
    ConfigurationError,
    JournalError,
    KeyConflict,
    NotRunning,
    UnknownAdapter,
    Unsendable,
)
from bridge.ingress.responses import problem, web_response
from bridge.ops.admin import pages
from bridge.ops.admin.requests import BadRequest
from bridge.ops.operators import StillRunning, UnknownSubscriber
from bridge.settings import AdminSettings

_OPEN: Final = frozenset({"/healthz", "/readyz"})  # probes cannot be given a token everywhere
SEND: Final = "/send"
_OTHERS: Final = frozenset({"cross-site", "same-site"})  # another port is the same site

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


def guard(settings: AdminSettings) -> Middleware:
    """Return what lets requests in: those with the token, or from this machine's own programs."""
    tokens = Tokens(() if settings.token is None else (settings.token,))
    senders = Tokens(() if settings.send_token is None else (settings.send_token,))

    @web.middleware
    async def checked(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in _OPEN:
            return await handler(request)
        is_page = pages.is_page(request.path)  # it holds no data, and asks for the token itself
        if not is_page and request.headers.get("Sec-Fetch-Site") in _OTHERS:
            return web_response(problem(403, "this is not for other sites' pages"))
        if request.path == SEND and senders.match(_presented(request)):
            return await handler(request)
        if tokens:
            if is_page:
                return await handler(request)
            if not tokens.match(_presented(request)):
                headers = {"WWW-Authenticate": "Bearer"}
                return web_response(problem(401, "this needs the token of [admin]", headers))
        elif not _is_local(request) or not _is_own(request):
            return web_response(problem(403, "this is not for other sites' pages"))
        return await handler(request)

    return checked


def _presented(request: web.Request) -> str | None:
    """Return the token that a request brings, if it brings one."""
    scheme, _, presented = request.headers.get("Authorization", "").partition(" ")
    return presented.strip() if scheme.lower() == "bearer" else None


def _is_local(request: web.Request) -> bool:
    """Return whether the request names this machine; a name of the page's own leads here too."""
    host = request.url.host
    try:
        return host == "localhost" or (host is not None and ip_address(host).is_loopback)
    except ValueError:
        return False


def _is_own(request: web.Request) -> bool:
    """Return whether the request is no page's, or our own page's."""
    return request.headers.get("Origin") in (None, f"{request.scheme}://{request.host}")


@web.middleware
async def explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn errors into responses."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        refusal = problem(error.status, error.reason)
    except BadRequest as error:
        refusal = problem(400, str(error))
    except KeyConflict as error:
        refusal = problem(409, str(error))
    except (Unsendable, ConfigurationError) as error:
        refusal = problem(422, str(error))
    except (UnknownSubscriber, UnknownAdapter) as error:
        refusal = problem(404, str(error))
    except StillRunning as error:
        refusal = problem(409, str(error))
    except (JournalError, NotRunning) as error:
        refusal = problem(503, str(error))
    return web_response(refusal)
