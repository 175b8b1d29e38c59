"""Google's inner objects, one of each kind, to try a bridge with.

https://developers.google.com/business-communications/rcs-business-messaging/reference/rest/v1/UserMessage
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from importlib.resources import files
from typing import Final
from uuid import UUID

from bridge.adapter import Sample
from bridge.model import JsonValue

_UUID_BYTES: Final = 16

# INCS's documentation gives this id to four different messages; they are told apart by time.
_REUSED_ID: Final = "5312df2b-54e3-457d-8654-49a4f3ba1a19"


def load(package: str = __name__) -> tuple[Sample, ...]:
    """Read the files `NN-name.json` of a package, in the order of their numbers."""
    numbered = {
        file.name.removesuffix(".json"): json.loads(file.read_text("utf-8"))
        for file in files(package).iterdir()
        if file.name.endswith(".json")
    }
    return tuple(
        Sample(name=stem.partition("-")[2], title=sample["title"], body=sample["body"])
        for stem, sample in sorted(numbered.items())
    )


def freshen(item: dict[str, JsonValue], nonce: str, now: datetime) -> dict[str, JsonValue]:
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


def fresh_uuid(old: JsonValue, nonce: str) -> JsonValue:
    """Return a new UUID for an old id, and anything else as it is."""
    if type(old) is not str or not old:
        return old
    return str(UUID(bytes=derived(old, nonce)[:_UUID_BYTES], version=4))


def derived(old: str, nonce: str) -> bytes:
    """Return 32 bytes that depend on the old id and the nonce, and on nothing else."""
    return hashlib.sha256(f"{nonce}/{old}".encode("utf-8", "surrogatepass")).digest()


def rfc3339(now: datetime) -> str:
    """Write a time as the providers do: in UTC, with six digits of a second."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
