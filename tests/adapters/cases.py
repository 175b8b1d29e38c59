"""Cases of adapters are data: a folder each, `tests/adapters/data/<adapter>/<case>/`.

`request.json` is the body as the provider sends it. Where the adapter ships it as a sample, the
file `sample` names that instead, so that no body is on disk twice. `events.json` is what comes
out, written by hand from the provider's documentation: a list of events in our own JSON, without
`source` and `received_at` (the test fixes both) and without `owned` where it is true, with `raw`
as a JSON pointer into the request, or in full. `settings.json`, where there is one, holds the
adapter's settings.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import orjson

from bridge.adapter import Sample
from bridge.adapter.samples import load as load_samples

DATA = Path(__file__).parent / "data"
RECEIVED_AT = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)
RECEIVED_TEXT = "2026-11-01T12:00:00Z"


@attrs.frozen
class Case:
    adapter: str
    name: str
    request: bytes
    events: list[dict[str, Any]]
    settings: dict[str, Any]

    def expected(self) -> list[dict[str, Any]]:
        """Return the events in full, `raw` looked up in the request."""
        body = json.loads(self.request)
        return [
            {
                **({"owned": True} if event["kind"] == "message" else {}),
                **event,
                "source": self.adapter,
                "received_at": RECEIVED_TEXT,
                "raw": _resolve(body, event["raw"]),
            }
            for event in self.events
        ]


def load(adapter: str) -> list[Case]:
    """Return every case of one adapter."""
    samples = {sample.name: sample for sample in load_samples(f"bridge.adapters.{adapter}")}
    return [
        Case(
            adapter=adapter,
            name=folder.name,
            request=_request(folder, samples),
            events=json.loads((folder / "events.json").read_text("utf-8")),
            settings=_optional(folder / "settings.json"),
        )
        for folder in sorted((DATA / adapter).iterdir())
    ]


def _request(folder: Path, samples: dict[str, Sample]) -> bytes:
    named = folder / "sample"
    if named.exists():
        return orjson.dumps(samples[named.read_text("utf-8").strip()].body)
    return (folder / "request.json").read_bytes()


def _optional(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def _resolve(body: Any, raw: Any) -> Any:
    if not isinstance(raw, str) or (raw and not raw.startswith("/")):
        return raw
    for part in raw.split("/")[1:]:
        body = body[int(part)] if isinstance(body, list) else body[part]
    return body
