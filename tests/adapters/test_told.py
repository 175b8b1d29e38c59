"""What several callbacks tell together, from the bodies to what a subscriber gets.

Cases are data, one file each in `tests/adapters/data/told/`: a sentence, INCS's channels, and the
callbacks with the events that each of them gives out, of which a case names what matters. After
the last callback, and after one that is `settled`, the time of what waits for a fuller account is
over.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from bridge import to_dict
from bridge.adapter import Verified
from bridge.adapters.incs import Channel, Incs, IncsSettings
from bridge.adapters.rcs import Rcs, RcsSettings
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from tests.adapters.cases import DATA, RECEIVED_AT
from tests.bridge.journal.shelf import Shelf

CASES = sorted((DATA / "told").glob("*.json"))


def part_of(found: Any, expected: Any) -> Any:
    """Return the part of what was found that a case names."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return {name: part_of(found.get(name), value) for name, value in expected.items()}
    return found


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_told_together(path: Path) -> None:
    """Each callback gives out what the case says, and nothing else."""
    case = json.loads(path.read_text("utf-8"))
    channels = tuple(Channel(**channel) for channel in case.get("channels", ()))
    adapters = {
        "incs": Incs("incs", IncsSettings(insecure=True, channels=channels)),
        "rcs": Rcs("rcs", RcsSettings(insecure=True, bare=True)),
        "whatsapp": WhatsApp("whatsapp", WhatsAppSettings(insecure=True)),
    }
    shelf = Shelf()
    for number, step in enumerate(case["steps"]):
        at = datetime.fromisoformat(step["received_at"]) if "received_at" in step else RECEIVED_AT
        verified = Verified(payload=orjson.dumps(step["body"]), received_at=at)
        events = adapters[step["adapter"]].parse(verified).events
        found = [each for event in events for each in shelf.append(event)]
        if step is case["steps"][-1] or step.get("settled"):
            found += shelf.wait()
        told = [to_dict(event) for event in found]
        kinds = [event["kind"] for event in step["events"]]
        assert [event["kind"] for event in told] == kinds, f"callback {number}"
        for event, expected in zip(told, step["events"], strict=True):
            assert part_of(event, expected) == expected, f"callback {number}"
