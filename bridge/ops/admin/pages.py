"""The inspector: a web page over the operators' interface, with the rights of its user's token.

Its plain files in `pages/` hold no data, so they are served without a token; the page asks for
it. Nothing is loaded from elsewhere, and no script or style is inline, so the content security
policy forbids both (https://www.w3.org/TR/CSP3/).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from aiohttp import web

from bridge.ingress.responses import HEADERS

_FOLDER: Final = Path(__file__).with_name("pages")
_PREFIX: Final = "/inspector/"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "connect")),
        *(f"{name} 'none'" for name in ("base-uri", "form-action", "frame-ancestors")),
    )
)
_HEADERS: Final = {
    **HEADERS,
    "Cache-Control": "no-cache",  # a new version shows at once
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


def is_page(path: str) -> bool:
    """Return whether a path belongs to the inspector's files."""
    return path == "/" or path.startswith(_PREFIX)


def add_to(app: web.Application) -> None:
    """Serve the inspector's files."""
    for path in sorted(_FOLDER.iterdir()):
        place = "/" if path.name == "index.html" else f"{_PREFIX}{path.name}"
        app.router.add_get(place, _sending(path))


def _sending(path: Path) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    headers = {**_HEADERS, "Content-Type": _TYPES[path.suffix]}

    async def send(_: web.Request) -> web.StreamResponse:
        return web.FileResponse(path, headers=headers)

    return send
