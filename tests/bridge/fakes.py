"""A small adapter of nobody's, to try the bridge with: `{"messages": [{"id": …, "text": …}]}`."""

from __future__ import annotations

from typing import Any

import attrs

from bridge.adapter import Callback, Parsed, Response, Scope, Verified
from bridge.adapter.body import read_object
from bridge.adapter.payload import mapping, phone, sequence
from bridge.adapter.signing import Secret, Tokens
from bridge.errors import MalformedBody, NotAuthentic
from bridge.model import Direction, Message, Origin, Party, Text
from bridge.model.keys import message_key

TOKEN = "correct-horse-battery-staple"


@attrs.frozen(kw_only=True)
class PlainSettings:
    tokens: tuple[Secret, ...] = (Secret(TOKEN),)


class Plain:
    """Takes its token as the path's tail, and says `ok`."""

    Settings = PlainSettings
    methods = frozenset({"POST"})

    def __init__(self, name: str = "plain", settings: PlainSettings | None = None) -> None:
        self._name = name
        self._tokens = Tokens((settings or PlainSettings()).tokens)

    def verify(self, callback: Callback, /) -> Verified:
        if not self._tokens.match(callback.tail):
            raise NotAuthentic("wrong token")
        return Verified(payload=callback.body, received_at=callback.received_at)

    def parse(self, verified: Verified, /) -> Parsed:
        try:
            body = read_object(verified.payload)
        except MalformedBody as error:
            return Parsed(malformed=error)
        scope = Scope(
            source=self._name,
            channel="plain",
            account="1",
            received_at=verified.received_at,
            body=body,
        )
        return Parsed(
            events=tuple(self._message(scope, item) for item in sequence(body.get("messages"))),
            response=Response(body=b"ok"),
        )

    def _message(self, scope: Scope, item: Any) -> Message:
        fields = mapping(item)
        user = phone(fields.get("from")) or "+10000000000"
        return Message(
            key=message_key("plain", fields["id"]),
            source=scope.source,
            channel=scope.channel,
            account=scope.account,
            occurred_at=scope.received_at,
            received_at=scope.received_at,
            raw=item,
            message_id=fields["id"],
            direction=Direction.INBOUND,
            origin=Origin.USER,
            conversation=scope.conversation(user),
            sender=Party(phone=user),
            recipient=scope.business,
            content=Text(text=fields["text"]),
        )
