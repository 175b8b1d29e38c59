"""What parsing is asked to reach: the WhatsApp text that INCS wraps, in turns with its peers."""

from __future__ import annotations

import gc
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import orjson

from adapters.incs import Channel, Incs, IncsSettings
from benchmarks.figures import Measure, Measured
from benchmarks.normalize import _cheapest, _enveloped, _pywa
from benchmarks.progress import Tell
from benchmarks.turns import Extent, take_turns
from bridge.adapter import Verified
from bridge.payload import mapping

_SAMPLE = "whatsapp-text"
_ROUNDS = 80


def measure(extent: Extent, tell: Tell) -> dict[Measure, Measured]:
    """Return the figures; a turn's cost is that of its best round, as nothing else disturbs it."""
    channel = Channel(id=30058, kind="whatsapp", business_phone="+6281519236680")
    incs = Incs("incs", IncsSettings(insecure=True, channels=(channel,)))
    sample = next(sample for sample in incs.samples() if sample.name == _SAMPLE)
    body = orjson.dumps(sample.body)
    verified = Verified(payload=body, received_at=datetime(2026, 11, 1, tzinfo=UTC))
    update = _enveloped({**mapping(mapping(sample.body).get("message"))})
    parses: dict[str, Callable[[], object]] = {
        "loads": partial(orjson.loads, body),
        "bridge": partial(incs.parse, verified),
        "pywa": partial(_pywa(), update),
    }
    gc.collect()
    gc.disable()
    try:
        turns = take_turns({_SAMPLE: partial(_cheapest, parses, _ROUNDS)}, extent.turns, tell)
    finally:
        gc.enable()
    return {
        Measure.PARSE_TO_LOADS: turns.figure(_SAMPLE, lambda cost: cost["bridge"] / cost["loads"]),
        Measure.PARSE_TO_PYWA: turns.figure(_SAMPLE, lambda cost: cost["pywa"] / cost["bridge"]),
    }
