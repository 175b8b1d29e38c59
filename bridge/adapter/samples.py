"""Read an adapter's samples, and derive new ids for them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from importlib.resources import files
from uuid import UUID

import orjson

from bridge.adapter.contract import Sample
from bridge.model import JsonValue

_UUID_BYTES = 16


def load(package: str) -> tuple[Sample, ...]:
    """Read the files `samples/NN-name.json` of a package, in the order of their numbers.

    Each holds an object with the sample's `title` and its `body`.
    """
    folder = files(package) / "samples"
    read = sorted(
        (file.name.removesuffix(".json"), orjson.loads(file.read_bytes()))
        for file in folder.iterdir()
        if file.name.endswith(".json")
    )
    return tuple(
        Sample(name=stem.partition("-")[2], title=sample["title"], body=sample["body"])
        for stem, sample in read
    )


def derived(old: str, nonce: str) -> bytes:
    """Return 32 bytes that depend on the old id and the nonce, and on nothing else."""
    return hashlib.sha256(f"{nonce}/{old}".encode("utf-8", "surrogatepass")).digest()


def fresh_uuid(old: JsonValue, nonce: str) -> JsonValue:
    """Return a new UUID for an old id, and anything else as it is."""
    if type(old) is not str or not old:
        return old
    return str(UUID(bytes=derived(old, nonce)[:_UUID_BYTES], version=4))


def rfc3339(time: datetime) -> str:
    """Write a time in UTC, with six digits of a second."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
