"""One trace runs from a callback to each subscriber's every try, and holds nothing personal."""

import asyncio
import json
import sys

import pytest
from aiohttp import web

from bridge.adapter import Callback
from bridge.errors import ConfigurationError, JournalError, NotAuthentic
from bridge.ingress.request_id import using
from bridge.journal.memory import MemoryJournal
from bridge.model import Event
from bridge.ops.tracing import Tracing
from bridge.runtime import Bridge
from bridge.settings import DeliverySettings
from tests.bridge.events import NOON, message
from tests.bridge.fakes import TOKEN, Plain

PHONE = "+16505551234"


@pytest.fixture
def exporter():
    """Keep the spans that have ended, in the SDK's own exporter for tests."""
    export = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    return export.InMemorySpanExporter()


@pytest.fixture
def provider(exporter):
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    provider = sdk.TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    yield provider
    provider.shutdown()


@pytest.fixture
def make(provider):
    """Make a bridge that traces, with these subscribers by name."""

    def bridge_of(journal=None, **subscribers):
        bridge = Bridge(
            journal=journal or MemoryJournal(),
            policy=DeliverySettings(first_delay=0.0),
        )
        bridge.observe(Tracing(provider))
        bridge.add_adapter("plain", Plain())
        for name, function in subscribers.items():
            bridge.on(Event, name=name)(function)
        return bridge

    return bridge_of


def callback(tail=TOKEN):
    body = {"messages": [{"id": "m1", "from": PHONE, "text": "a secret of mine"}]}
    return Callback(body=json.dumps(body).encode(), tail=tail, received_at=NOON)


def named(exporter):
    return {span.name: span for span in exporter.get_finished_spans()}


async def test_a_trace_runs_from_the_callback_to_each_subscriber(make, exporter):
    """Verify, parse, append and both deliveries are children of the callback's span."""

    async def coroutine(event):
        await asyncio.sleep(0)

    def thread(event):
        pass

    bridge = make(coroutine=coroutine, thread=thread)
    async with bridge:
        with using("r-1"):
            await bridge.receive("plain", callback())
    spans = named(exporter)
    root = spans.pop("callback plain")
    assert root.parent is None
    assert root.attributes["bridge.adapter"] == "plain"
    assert root.attributes["bridge.request_id"] == "r-1"
    assert spans.keys() == {"verify", "parse", "append", "deliver coroutine", "deliver thread"}
    for span in spans.values():
        assert span.parent.span_id == root.context.span_id
        assert span.context.trace_id == root.context.trace_id
    assert spans["append"].attributes["bridge.events"] == 1
    delivery = spans["deliver thread"]
    assert delivery.attributes["bridge.subscriber"] == "thread"
    assert delivery.attributes["bridge.event.kind"] == "message"
    assert delivery.attributes["bridge.channel"] == "plain"


async def test_each_try_is_a_span(make, exporter):
    """A failure is a span with the error's class, and the next try another in the same trace."""
    tries = []

    async def fragile(event):
        tries.append(event)
        if len(tries) == 1:
            raise ValueError(f"cannot take {event.raw}")

    bridge = make(fragile=fragile)
    async with bridge:
        await bridge.receive("plain", callback())
    first, second = [s for s in exporter.get_finished_spans() if s.name == "deliver fragile"]
    assert first.status.status_code.name == "ERROR"
    assert first.attributes["error.type"] == "ValueError"
    assert second.status.status_code.name == "UNSET"
    assert first.context.trace_id == second.context.trace_id


async def test_two_callbacks_are_two_traces(make, exporter):
    """What one request does is never in another's trace."""
    bridge = make()
    async with bridge:
        await bridge.receive("plain", callback())
        await bridge.receive("plain", callback())
    roots = [s for s in exporter.get_finished_spans() if s.name == "callback plain"]
    assert len({span.context.trace_id for span in roots}) == 2


async def test_a_refusal_shows_in_the_trace(make, exporter):
    """A forged callback's span, and its verification's, end with the error's class."""
    bridge = make()
    async with bridge:
        with pytest.raises(NotAuthentic):
            await bridge.receive("plain", callback(tail="forged"))
    spans = named(exporter)
    assert spans.keys() == {"callback plain", "verify"}
    assert {span.attributes["error.type"] for span in spans.values()} == {"NotAuthentic"}


class Full(MemoryJournal):
    async def append(self, events):
        raise JournalError("no space left")


async def test_what_could_not_be_stored_shows_in_the_trace(make, exporter):
    """The span of the journal's append tells a callback that was answered with 503."""
    bridge = make(journal=Full())
    async with bridge:
        with pytest.raises(JournalError):
            await bridge.receive("plain", callback())
    assert named(exporter)["append"].attributes["error.type"] == "JournalError"


async def test_no_span_holds_personal_data(make, exporter):
    """Neither texts nor phones nor an exception's words are in anything that is exported."""

    async def careless(event):
        raise ValueError(f"cannot take {event.raw}")

    bridge = make(careless=careless)
    async with bridge:
        await bridge.receive("plain", callback())
    everything = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert "deliver careless" in everything
    for needle in ("a secret of mine", PHONE, PHONE[1:], TOKEN, "cannot take"):
        assert needle not in everything


async def test_the_adapter_itself_stays_what_it_is(make):
    """Who asks a bridge for its adapters gets them as they were added."""
    assert type(make().adapters["plain"]) is Plain


def test_without_opentelemetry_it_says_what_to_install(monkeypatch):
    """Where the extra is missing, the error names it."""
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.export", None)
    for make_tracing in (Tracing, Tracing.exporting):
        with pytest.raises(ConfigurationError, match=r"pip install 'incs-bridge\[otel\]'"):
            make_tracing()


async def test_what_an_earlier_process_left_begins_a_trace(make, exporter):
    """An event whose callback nobody remembers is delivered in a trace of its own."""

    async def take(event):
        pass

    bridge = make(take=take)
    async with bridge:
        await bridge.journal.append([message()])
    [span] = exporter.get_finished_spans()
    assert span.name == "deliver take"
    assert span.parent is None


def test_an_exporter_that_is_missing_is_named(monkeypatch):
    """OTEL_TRACES_EXPORTER that names nothing installed is a mistake of configuration."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "pigeon")
    with pytest.raises(ConfigurationError, match="no exporter of traces is called 'pigeon'"):
        Tracing.exporting()


@pytest.mark.parametrize(
    ("variables", "service"),
    [({}, "incs-bridge"), ({"OTEL_SERVICE_NAME": "shop"}, "shop")],
)
async def test_spans_are_exported_before_the_bridge_has_stopped(monkeypatch, variables, service):
    """The exporter that the environment names gets every span, under the service's name."""
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    spans = []

    class Kept(export.SpanExporter):
        def export(self, batch):
            spans.extend(batch)
            return export.SpanExportResult.SUCCESS

    monkeypatch.setattr(export, "ConsoleSpanExporter", Kept)
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    bridge = Bridge(journal=MemoryJournal())
    bridge.observe(Tracing.exporting())
    bridge.add_adapter("plain", Plain())
    async with bridge:
        await bridge.receive("plain", callback())
    assert {span.name for span in spans} == {"callback plain", "verify", "parse", "append"}
    assert {span.resource.attributes["service.name"] for span in spans} == {service}


async def test_otlp_reaches_a_collector(monkeypatch):
    """Unless told otherwise, spans go by OTLP to the endpoint of the environment."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    received = []

    async def collect(request):
        received.append((request.path, await request.read()))
        return web.Response()

    app = web.Application()
    app.router.add_post("/{path:.*}", collect)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    bridge = Bridge(journal=MemoryJournal())
    bridge.observe(Tracing.exporting())
    bridge.add_adapter("plain", Plain())
    async with bridge:
        await bridge.receive("plain", callback())
    await runner.cleanup()
    [(path, body)] = received
    assert path == "/v1/traces"
    assert b"callback plain" in body
