"""A subscriber that posts each event to a URL, so that a subscriber can be in any language.

An event goes out as CloudEvents JSON, signed as Standard Webhooks says:
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, Self, final
from urllib.parse import quote

import orjson
from standardwebhooks import Webhook as Signer

from bridge.adapter import Request, Response
from bridge.adapter.signing import Secret
from bridge.errors import NotTaken, RetryIn, Stop
from bridge.model import Event, Message
from bridge.model.codec import encode
from bridge.outbox.client import Client, Transport

_TAKEN: Final = range(200, 300)
_LONGEST: Final = 24 * 3600.0  # seconds that a receiver may ask to wait
_WAITING: Final = frozenset((HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE))


@final
class Webhook:
    """Posts events to `url`; an async context manager, and what a subscriber calls.

    An event is taken once it is answered with any 2xx. `Retry-After` of 429 and 503 is when it is
    tried again; after 410 the URL gets nothing more until the bridge starts again. With several
    secrets there is a signature by each, so that the receiver's can be replaced.
    """

    def __init__(self, url: str, secrets: Sequence[Secret]) -> None:
        self._url = url
        self._signers = [Signer(secret.reveal()) for secret in secrets]
        self._client = Client()

    async def __aenter__(self) -> Self:
        """Open the connections."""
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close them."""
        await self._client.__aexit__(None, None, None)

    @contextmanager
    def posting_to(self, transport: Transport) -> Iterator[None]:
        """Post there in the block, and not over the network: for tests."""
        before, self._client = self._client, Client(transport=transport)
        try:
            yield
        finally:
            self._client = before

    async def __call__(self, event: Event) -> None:
        """Post an event. Raises `Unanswered`, `NotTaken`, `RetryIn` or `Stop`."""
        now = datetime.now(UTC)
        response = await self._client.exchange(self._request(event, now))
        if response.status in _TAKEN:
            return
        if response.status == HTTPStatus.GONE:
            raise Stop("the receiver answers 410: it wants no more events")
        seconds = _retry_after(response) if response.status in _WAITING else None
        if seconds is not None:
            raise RetryIn(seconds)
        raise NotTaken(response.status)

    def _request(self, event: Event, now: datetime) -> Request:
        body = cloud_event(event)
        # The same for each try of an event, as receivers are to recognise repetitions by it; a
        # key may be longer than a header, and hold a dot, which the signature is parted by.
        number = f"msg_{hashlib.sha256(event.key.encode()).hexdigest()[:32]}"
        signatures = (signer.sign(number, now, body.decode()) for signer in self._signers)
        return Request(
            method="POST",
            url=self._url,
            headers={
                "Content-Type": "application/cloudevents+json; charset=utf-8",
                "User-Agent": "incs-bridge",
                "webhook-id": number,
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": " ".join(signatures),
            },
            body=body,
        )


def cloud_event(event: Event) -> bytes:
    """Return an event as a CloudEvent in JSON; `data` is the event in our own JSON."""
    subject = event.conversation.id if isinstance(event, Message) else event.account
    attributes = {
        "specversion": "1.0",
        "id": event.key,
        "source": quote(event.source, safe=""),
        "type": f"bridge.{event.kind}",
        "time": event.occurred_at.isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": orjson.Fragment(encode(event)),
    }
    return orjson.dumps(attributes if subject is None else {**attributes, "subject": subject})


def _retry_after(response: Response) -> float | None:
    """Return how long a receiver asks to wait, in seconds, bounded; None where it does not say.

    https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    """
    told = next((v for k, v in response.headers.items() if k.lower() == "retry-after"), "")
    try:
        seconds = float(told) if told.isdigit() else parsedate_to_datetime(told).timestamp()
    except ValueError:
        return None
    return min(max(0.0, seconds if told.isdigit() else seconds - time.time()), _LONGEST)
