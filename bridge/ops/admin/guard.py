"""Authentication of operators, and responses for errors.

A web page in a browser on this machine reaches loopback too. Requests of other sites' pages are
refused by their Fetch Metadata (https://www.w3.org/TR/fetch-metadata/); without a token, also
requests whose `Host` is not a name of this machine (DNS rebinding).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final, TypeAlias

from aiohttp import web
from aiohttp.typedefs import Middleware

from bridge.adapter.signing import Tokens
from bridge.errors import (
    ConfigurationError,
    JournalError,
    KeyConflict,
    NotRunning,
    Unanswered,
    UnknownAdapter,
    Unsendable,
)
from bridge.ingress.responses import problem, web_response
from bridge.ops.admin import pages
from bridge.ops.admin.requests import BadRequest
from bridge.ops.operators import Caller, Operators, StillRunning, UnknownSubscriber, caller
from bridge.settings import AdminSettings, is_loopback

_OPEN: Final = frozenset({"/healthz", "/readyz"})  # probes cannot be given a token everywhere
SEND: Final = "/send"
_DRY: Final = "/normalize"  # a POST that changes nothing
_EXPORT: Final = "/export"
_READING: Final = frozenset({"GET", "HEAD"})
_TOKEN: Final = "token"  # noqa: S105 - what the token without a name is called
_NOBODY: Final = "nobody"
_LOCAL: Final = "local"
_NOT_FOR_SITES: Final = "this is not for other sites' pages"
_SENDER: Final = "send_token"
_OTHERS: Final = frozenset({"cross-site", "same-site"})  # another port is the same site

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


def guard(settings: AdminSettings, operators: Operators) -> Middleware:
    """Return a middleware that admits requests with a token, or from programs of this machine.

    Both admitted and refused requests are on record.
    """
    named = {_TOKEN: settings.token, **settings.tokens, **settings.readers}
    tokens = {name: Tokens((token,)) for name, token in named.items() if token}
    senders = Tokens(() if settings.send_token is None else (settings.send_token,))

    def refusal(request: web.Request) -> tuple[int, str] | None:
        """Set `caller`; return the status and the reason of a refusal, or None."""
        client = request.remote or "this machine"  # by the socket
        caller.set(Caller(_NOBODY if tokens else _LOCAL, client))
        is_page = pages.is_page(request.path)  # it holds no data, and asks for the token itself
        if not is_page and request.headers.get("Sec-Fetch-Site") in _OTHERS:
            return 403, _NOT_FOR_SITES
        if request.path == SEND and senders.match(_presented(request)):
            caller.set(Caller(_SENDER, client))
            return None
        if not tokens:
            return None if _is_local(request) and _is_own(request) else (403, _NOT_FOR_SITES)
        if is_page:
            return None
        name = _holder(_presented(request), tokens)
        if name is None:
            return 401, "this needs the token of [admin]"
        caller.set(Caller(name, client))
        if name in settings.readers and not _is_reading(request):
            return 403, "this token may only read"
        return None

    @web.middleware
    async def checked(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = None if request.path in _OPEN else refusal(request)
        if refused is None:
            return await handler(request)
        status, reason = refused
        operators.refuse(reason)
        headers = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else {}
        return web_response(problem(status, reason, headers))

    return checked


def _is_reading(request: web.Request) -> bool:
    """Return whether a request changes nothing, and does not export the journal."""
    return request.path == _DRY or (request.method in _READING and request.path != _EXPORT)


def _presented(request: web.Request) -> str | None:
    """Return the token of a request, if it has one."""
    scheme, _, presented = request.headers.get("Authorization", "").partition(" ")
    return presented.strip() if scheme.lower() == "bearer" else None


def _holder(presented: str | None, tokens: Mapping[str, Tokens]) -> str | None:
    """Return the name of a presented token; it is compared with every one, in constant time."""
    matching = [name for name, each in tokens.items() if each.match(presented)]
    return matching[0] if matching else None


def _is_local(request: web.Request) -> bool:
    """Return whether `Host` names this machine; another site's name may lead here too."""
    try:
        host = request.url.host
    except ValueError:  # of a `Host` that is none
        return False
    return host is not None and is_loopback(host)


def _is_own(request: web.Request) -> bool:
    """Return whether a program or our own page made the request, not another site's."""
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
    except Unsendable as error:
        refusal = problem(422, str(error))
    except ConfigurationError as error:
        # What the adapter's settings lack, or what the request itself says wrongly.
        is_lacking = any(each.key.startswith("adapters.") for each in error.problems)
        refusal = problem(422 if is_lacking else 400, str(error))
    except (UnknownSubscriber, UnknownAdapter) as error:
        refusal = problem(404, str(error))
    except StillRunning as error:
        refusal = problem(409, str(error))
    except (JournalError, NotRunning, Unanswered) as error:
        refusal = problem(503, str(error))
    return web_response(refusal)
