"""Where Meta keeps the files of messages: an id leads to a link, which is good for five minutes.

https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/media
"""

from __future__ import annotations

from bridge.adapter import Request, Response
from bridge.adapter.body import read_object
from bridge.adapter.payload import filled, identifier, mapping, number, sha256_hex
from bridge.adapter.signing import Secret
from bridge.errors import MalformedBody, Unanswered, Unfetchable
from bridge.model import Media
from bridge.model.frozen import evolved

_SUCCESS = 200
_SERVERS_FAULT = 500
_TOO_FAST = 429


def lookup(media: Media, token: Secret, base_url: str) -> Request:
    """Return the request that asks for a file's link."""
    media_id = identifier(media.media_id)
    if media_id is None or not media_id.isalnum():
        raise Unfetchable("it has no id of Meta's")
    return Request(method="GET", url=f"{base_url.rstrip('/')}/{media_id}", headers=_headers(token))


def located(media: Media, response: Response, token: Secret) -> tuple[Media, Request]:
    """Return a file as Meta describes it, and the request for it, which needs the token too."""
    try:
        body = read_object(response.body)
    except MalformedBody:
        body = {}
    url = filled(body.get("url"))
    if response.status != _SUCCESS or url is None:
        error = mapping(body.get("error"))
        reason = filled(error.get("message")) or f"HTTP {response.status}"
        if response.status >= _SERVERS_FAULT or response.status == _TOO_FAST:
            raise Unanswered(f"Meta does not tell where the file is: {reason}", in_doubt=False)
        raise Unfetchable(f"Meta does not give it out: {reason}")
    size = number(body.get("file_size"))
    found = evolved(
        media,
        url=url,
        mime_type=filled(body.get("mime_type")) or media.mime_type,
        sha256=sha256_hex(body.get("sha256")) or media.sha256,
        size=media.size if size is None else int(size),
    )
    return found, Request(method="GET", url=url, headers=_headers(token))


def _headers(token: Secret) -> dict[str, str]:
    return {"Authorization": f"Bearer {token.reveal()}"}
