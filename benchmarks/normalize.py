"""From a callback's bytes to its event: the bridge, pywa, pydantic, and `orjson.loads` alone."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TypeAlias

import attrs
import orjson

from benchmarks.bodies import RCS_TEXT, WHATSAPP_TEXT, enveloped
from benchmarks.figures import Measure, Measured, Missing
from benchmarks.peers import IncsWhatsAppText, RcsText, WhatsAppText, pywa_parser
from benchmarks.progress import Tell
from benchmarks.report import Table
from benchmarks.turns import Extent, cheapest, take_turns
from bridge.adapter import Adapter, Sample, Verified
from bridge.adapter.payload import mapping, sequence
from bridge.adapters.incs import Channel, Incs, IncsSettings
from bridge.adapters.rcs import Rcs, RcsSettings
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.model import Unrecognized

_NOW = datetime(2026, 11, 1, tzinfo=UTC)
_DIRECT = {"played", "statuses", "failed", "image", "quoted-reply", "read", "reply"}
_ASKED = "INCS whatsapp-text"
_ROUNDS_IN_TURN = 80
_LOADS, _BRIDGE, _PYWA, _PYDANTIC = "loads", "bridge", "pywa", "pydantic"
_HEADINGS = (
    "callback",
    "bytes",
    "orjson.loads µs",
    "bridge µs",
    "bridge x",
    "pywa x",
    "pydantic x",
    "faster than pywa",
)

_Readers: TypeAlias = Mapping[str, Callable[[], object]]


@attrs.frozen(kw_only=True)
class _Case:
    """A callback, and how those read it who can."""

    title: str
    body: bytes
    readers: _Readers


def measure(extent: Extent, tell: Tell) -> Table:
    """Measure every sample of INCS's documentation, and the direct bodies."""
    tell("every sample")
    cases = list(_cases())
    asked = next(case for case in cases if case.title == _ASKED)
    rows, bars = [], []
    with _without_collections():
        for case in cases:
            cost = cheapest(case.readers, extent.rounds)
            rows.append(_row(case, cost))
            bars.append((f"bridge: {case.title}", cost[_BRIDGE] / cost[_LOADS]))
        figures = _figures(asked, extent, tell)
    return Table(
        name="normalize",
        title="Normalizing one callback",
        note=(
            "From the bytes to the event, in multiples of `orjson.loads` of the same bytes; the "
            f"best of {extent.rounds} rounds. pywa gets Meta's own update of the same message, "
            "with the user id it needs. "
            "pydantic validates the shape of a text message only, and translates nothing."
        ),
        headings=_HEADINGS,
        rows=rows,
        figures=figures,
        bars=bars,
        axis="multiples of orjson.loads (less is better)",
    )


@contextmanager
def _without_collections() -> Iterator[None]:
    """Keep the garbage collector from running in whichever reader happens to be measured."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _figures(asked: _Case, extent: Extent, tell: Tell) -> dict[Measure, Measured]:
    """Measure what something is asked of; a turn's cost is that of its best round."""
    readers = {name: read for name, read in asked.readers.items() if name != _PYDANTIC}
    task = partial(cheapest, readers, _ROUNDS_IN_TURN)
    costs = take_turns({asked.title: task}, extent.turns, tell)

    def ratio(one: str, other: str) -> Measured:
        if one not in readers:
            return Missing(f"{one} cannot read {asked.title}")
        return costs.figure(asked.title, lambda cost: cost[one] / cost[other])

    return {
        Measure.PARSE_TO_LOADS: ratio(_BRIDGE, _LOADS),
        Measure.PARSE_TO_PYWA: ratio(_PYWA, _BRIDGE),
    }


def _row(case: _Case, cost: Mapping[str, float]) -> list[str]:
    limit = cost[_LOADS]
    return [
        case.title,
        str(len(case.body)),
        f"{limit:.2f}",
        f"{cost[_BRIDGE]:.2f}",
        f"{cost[_BRIDGE] / limit:.1f}",
        *(f"{cost[name] / limit:.1f}" if name in cost else "" for name in (_PYWA, _PYDANTIC)),
        f"{cost[_PYWA] / cost[_BRIDGE]:.1f}" if _PYWA in cost else "",
    ]


def _cases() -> Iterator[_Case]:
    channel = Channel(id=30058, kind="whatsapp", business_phone="+6281519236680")
    incs = Incs("incs", IncsSettings(insecure=True, channels=(channel,)))
    whatsapp = WhatsApp("whatsapp", WhatsAppSettings(insecure=True))
    rcs = Rcs("rcs", RcsSettings(insecure=True))
    pywa = pywa_parser()
    for sample in incs.samples():
        yield _wrapped(sample, incs, pywa)
    text = orjson.dumps(WHATSAPP_TEXT)
    others: _Readers = {
        _PYWA: partial(pywa, text),
        _PYDANTIC: partial(WhatsAppText.model_validate_json, text),
    }
    yield _case("WhatsApp text, direct", text, whatsapp, others)
    yield from _direct("WhatsApp", whatsapp)
    text = orjson.dumps(RCS_TEXT)
    others = {_PYDANTIC: partial(RcsText.model_validate_json, text)}
    yield _case("RCS text, direct", text, rcs, others)
    yield from _direct("RCS", rcs)


def _wrapped(sample: Sample, incs: Incs, pywa: Callable[[bytes], object]) -> _Case:
    """Return a sample of INCS's documentation; pywa gets what Meta sends where INCS wraps that."""
    body = orjson.dumps(sample.body)
    message = mapping(mapping(sample.body).get("message"))
    others: dict[str, Callable[[], object]] = {}
    if "messaging_product" in message:
        others[_PYWA] = partial(pywa, enveloped(message))
        items = sequence(message.get("messages"))
        if all(mapping(item).get("type") == "text" for item in items):
            others[_PYDANTIC] = partial(IncsWhatsAppText.model_validate_json, body)
    return _case(f"INCS {sample.name}", body, incs, others)


def _direct(provider: str, adapter: WhatsApp | Rcs) -> Iterator[_Case]:
    for sample in adapter.samples():
        if sample.name in _DIRECT:
            title = f"{provider} {sample.name}, direct"
            yield _case(title, orjson.dumps(sample.body), adapter, {})


def _case(title: str, body: bytes, adapter: Adapter, others: _Readers) -> _Case:
    """Return a case with those of the others who can read it.

    Raises `ValueError` where the bridge cannot: its figure would prove nothing.
    """
    verified = Verified(payload=body, received_at=_NOW)
    events = adapter.parse(verified).events
    if not events or any(isinstance(event, Unrecognized) for event in events):
        raise ValueError(f"the bridge cannot read a sample: {title}")
    readers: dict[str, Callable[[], object]] = {
        _LOADS: partial(orjson.loads, body),
        _BRIDGE: partial(adapter.parse, verified),
    }
    for name, read in others.items():
        try:
            read()
        except Exception as error:  # noqa: BLE001 - whatever it is, there is no figure
            print(f"{name} cannot read {title}: {type(error).__name__}")
        else:
            readers[name] = read
    return _Case(title=title, body=body, readers=readers)
