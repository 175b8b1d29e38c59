"""Give Google's inner objects new ids and times."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from bridge.adapter.reading import JsonObject
from bridge.adapter.samples import fresh_uuid, rfc3339

# INCS's documentation gives this id to four different messages; they are told apart by time.
_REUSED_ID: Final = "5312df2b-54e3-457d-8654-49a4f3ba1a19"


def freshen(item: JsonObject, nonce: str, now: datetime) -> JsonObject:
    """Give an inner object new ids and a new time; what it answers moves along."""
    fresh = dict(item)
    for name in ("messageId", "eventId"):
        if name in item:
            old = item[name]
            # With its time, the id of several messages becomes several ids.
            seed = f"{old}/{item.get('sendTime')}" if old == _REUSED_ID else old
            fresh[name] = fresh_uuid(seed, nonce)
    if "sendTime" in item:
        fresh["sendTime"] = rfc3339(now)
    response = item.get("suggestionResponse")
    if type(response) is dict and type(shown := response.get("trackdata")) is dict:
        if "msgId" in shown:
            shown = {**shown, "msgId": fresh_uuid(shown["msgId"], nonce)}
        fresh["suggestionResponse"] = {**response, "trackdata": shown}
    return fresh
