"""From a callback's bytes to its event: the bridge, pywa, pydantic, and `orjson.loads` alone."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

import orjson
import pydantic

from adapters.incs import Channel, Incs, IncsSettings
from adapters.rcs import Rcs, RcsSettings
from adapters.whatsapp import WhatsApp, WhatsAppSettings
from benchmarks.bodies import RCS_TEXT, WHATSAPP_TEXT
from benchmarks.report import Table
from bridge.adapter import Adapter, Sample, Verified
from bridge.model import Unrecognized
from bridge.payload import mapping

_NOW = datetime(2026, 11, 1, tzinfo=UTC)
_AT_ONCE = 50
_DIRECT = {"played", "statuses", "failed", "image", "quoted-reply", "read", "reply"}
_USER_ID = "US.13491208655302741918"


class _Profile(pydantic.BaseModel):
    name: str | None = None


class _Card(pydantic.BaseModel):
    profile: _Profile
    wa_id: str | None = None
    user_id: str | None = None


class _Text(pydantic.BaseModel):
    body: str


class _Message(pydantic.BaseModel):
    id: str
    timestamp: datetime
    type: str
    from_: str | None = pydantic.Field(None, alias="from")
    from_user_id: str | None = None
    text: _Text | None = None


class _Metadata(pydantic.BaseModel):
    display_phone_number: str
    phone_number_id: str


class _Value(pydantic.BaseModel):
    messaging_product: str
    metadata: _Metadata
    contacts: list[_Card] = []
    messages: list[_Message] = []


class _Change(pydantic.BaseModel):
    field: str
    value: _Value


class _Entry(pydantic.BaseModel):
    id: str
    changes: list[_Change]


class _Body(pydantic.BaseModel):
    object: str
    entry: list[_Entry]


class _IncsBody(pydantic.BaseModel):
    event: str
    channel_id: int | None = None
    business_phone: str
    message: _Value


class _RcsBody(pydantic.BaseModel):
    senderPhoneNumber: str  # noqa: N815 - Google's spelling
    messageId: str  # noqa: N815
    sendTime: datetime  # noqa: N815
    text: str
    agentId: str  # noqa: N815


def _pywa() -> Callable[[bytes], object]:
    """Return what pywa does with a body before it calls anybody: hash, JSON, update object."""
    from pywa import WhatsApp as Client
    from pywa._logging import get_update_hash
    from pywa.types import RawUpdate

    logging.getLogger("pywa").setLevel(logging.CRITICAL)
    client = Client(phone_id="106540352242922", token="unused", filter_updates=False)

    def parse(body: bytes) -> object:
        update = RawUpdate(body, hmac_header=None, update_hash=get_update_hash(body))
        handler = client._get_handler_type(update)  # noqa: SLF001 - what its server calls
        return client._handlers_to_updates[handler].from_update(  # noqa: SLF001
            client=client, update=update
        )

    return parse


def _enveloped(value: dict[str, object]) -> bytes:
    """Return Meta's own update around a value that INCS wrapped, with what pywa insists on."""
    cards = [{**card, "user_id": _USER_ID} for card in value.get("contacts", ())]
    messages = [{**item, "from_user_id": _USER_ID} for item in value.get("messages", ())]
    value = {**value, "contacts": cards, "messages": messages}
    change = {"field": "messages", "value": value}
    entry = {"id": "102290129340398", "changes": [change]}
    return orjson.dumps({"object": "whatsapp_business_account", "entry": [entry]})


def _cheapest(tasks: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the microseconds of each task in its best round; the tasks take turns."""
    best = dict.fromkeys(tasks, float("inf"))
    for _ in range(rounds):
        for name, task in tasks.items():
            start = time.perf_counter()
            for _ in range(_AT_ONCE):
                task()
            best[name] = min(best[name], (time.perf_counter() - start) / _AT_ONCE * 1e6)
    return best


def _events(adapter: Adapter, body: bytes) -> Callable[[], object]:
    verified = Verified(payload=body, received_at=_NOW)
    events = adapter.parse(verified).events
    if not events or any(isinstance(event, Unrecognized) for event in events):
        raise ValueError(f"a sample that the bridge cannot read proves nothing: {body!r}")
    return lambda: adapter.parse(verified)


def measure(*, short: bool) -> Table:
    """Measure every sample of INCS's documentation, and the direct bodies."""
    channel = Channel(id=30058, kind="whatsapp", business_phone="+6281519236680")
    incs = Incs("incs", IncsSettings(insecure=True, channels=(channel,)))
    whatsapp = WhatsApp("whatsapp", WhatsAppSettings(insecure=True))
    rcs = Rcs("rcs", RcsSettings(insecure=True))
    pywa = _pywa()
    direct = orjson.dumps(WHATSAPP_TEXT)
    rows, bars = [], []
    gc.collect()
    gc.disable()
    try:
        for title, body, adapter, model, update in [
            *(_sample(sample, incs) for sample in incs.samples()),
            ("WhatsApp text, direct", direct, whatsapp, _Body, direct),
            *(
                (f"WhatsApp {sample.name}, direct", orjson.dumps(sample.body), whatsapp, None, None)
                for sample in whatsapp.samples()
                if sample.name in _DIRECT
            ),
            ("RCS text, direct", orjson.dumps(RCS_TEXT), rcs, _RcsBody, None),
            *(
                (f"RCS {sample.name}, direct", orjson.dumps(sample.body), rcs, None, None)
                for sample in rcs.samples()
                if sample.name in _DIRECT
            ),
        ]:
            tasks: dict[str, Callable[[], object]] = {
                "loads": lambda body=body: orjson.loads(body),
                "bridge": _events(adapter, body),
            }
            if update is not None:
                try:
                    pywa(update)
                    tasks["pywa"] = lambda update=update: pywa(update)
                except Exception as error:  # noqa: BLE001 - whatever it is, there is no figure
                    print(f"pywa cannot read {title}: {type(error).__name__}")
            if model is not None:
                tasks["pydantic"] = lambda body=body, model=model: model.model_validate_json(body)
            cost = _cheapest(tasks, 40 if short else 400)
            limit = cost["loads"]
            rows.append(
                [
                    title,
                    str(len(body)),
                    f"{limit:.2f}",
                    f"{cost['bridge']:.2f}",
                    f"{cost['bridge'] / limit:.1f}",
                    *(f"{cost[n] / limit:.1f}" if n in cost else "" for n in ("pywa", "pydantic")),
                    f"{cost['pywa'] / cost['bridge']:.1f}" if "pywa" in cost else "",
                ]
            )
            bars.append((f"bridge: {title}", cost["bridge"] / limit))
    finally:
        gc.enable()
    return Table(
        name="normalize",
        title="Normalizing one callback",
        note=(
            "From the bytes to the event, in multiples of `orjson.loads` of the same bytes; the "
            "best of many turns. pywa gets Meta's own update of the same message, with the user id "
            "it needs. "
            "pydantic validates the shape of a text message only, and translates nothing."
        ),
        headings=(
            "callback",
            "bytes",
            "orjson.loads µs",
            "bridge µs",
            "bridge x",
            "pywa x",
            "pydantic x",
            "faster than pywa",
        ),
        rows=rows,
        bars=bars,
        axis="multiples of orjson.loads (less is better)",
    )


def _sample(sample: Sample, incs: Incs):
    message = mapping(mapping(sample.body).get("message"))
    wrapped = "messaging_product" in message
    is_text = wrapped and all(item.get("type") == "text" for item in message.get("messages", ()))
    return (
        f"INCS {sample.name}",
        orjson.dumps(sample.body),
        incs,
        _IncsBody if is_text else None,
        _enveloped(message) if wrapped else None,
    )
