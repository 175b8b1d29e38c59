"""Write the reference pages from what they describe, before Sphinx reads them.

The model's classes, the adapters' samples, the example configuration, the commands, the OpenAPI
document and what is told Prometheus are the only sources: what is added to one of them stands in
the reference by itself.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson
from prometheus_client.parser import text_string_to_metric_families

from bridge import installed
from bridge.adapter import Callback, SampleSource
from bridge.cli.main import app as command
from bridge.installed import without_secrets
from bridge.journal.memory import MemoryJournal
from bridge.model import (
    CONTENT_CLASSES,
    EVENT_CLASSES,
    Carousel,
    Content,
    Event,
    Menu,
    Native,
    Option,
    Receipt,
)
from bridge.model.codec import content_to_dict, to_dict
from bridge.model.schema import json_schema
from bridge.ops.metrics import Metrics
from bridge.ops.openapi import openapi
from bridge.ops.shapes import SCHEMAS
from bridge.runtime import Bridge

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE: Final = Path(__file__).parent
RECEIVED: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
_LONG: Final = 60  # characters of a text in an example
INTRODUCTION: Final = """\
What a subscriber gets, as Python classes of `bridge` and as JSON of the same words.
In JSON, fields that say nothing are left out, and times end in `Z`.
`bridge schema` prints the same as JSON Schema, `bridge schema --format asyncapi` as AsyncAPI."""

INTERFACE: Final = """\
`[admin]` listens for operators.
With a token it is at `http://127.0.0.1:8081` by default; send `Authorization: Bearer …`.
Without one it is a Unix socket: `curl --unix-socket bridge.sock http://localhost/status`.
`bridge schema --format openapi` prints the same as OpenAPI, for tools.
An answer that refuses is a [Problem](#problem), and a later version may add fields."""
MEASURED: Final = """\
What `GET /metrics` of `[admin]` tells Prometheus.
[Operating](../operate.md) has the alerts that are worth waking somebody, and a dashboard."""
OBJECTS: Final = ("Send", "Sending")
TRACK: Final = Option("track", "Track my order")
SENT: Final[Sequence[Content]] = (  # which no sample of a callback has
    Menu("What next?", options=(TRACK, Option("agent", "Talk to us"))),
    Carousel([Menu("Red", options=[TRACK]), Menu("Blue", options=[TRACK])], text="Two of them"),
    Native({"type": "text", "text": {"body": "hello"}}),
    Receipt(typing=True),
)

Row = tuple[str, str, str]
Example = tuple[str, Mapping[str, Any]]


def table(head: Row, rows: Iterable[Row]) -> str:
    """Return a Markdown table."""
    lines = (head, ("---",) * 3, *rows)
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def prose(text: str) -> str:
    """Return a docstring as Markdown: reST's double backticks become single ones."""
    return re.sub(r"``(.+?)``", r"`\1`", text)


def sampled() -> Iterator[tuple[str, Event]]:
    """Return the events that adapters make of their samples, and of what says nothing known."""
    for name in installed.adapters():
        adapter = without_secrets(name)
        if not isinstance(adapter, SampleSource):
            continue
        bodies = [(f"the sample `{name}/{each.name}`", each.body) for each in adapter.samples()]
        for where, body in (*bodies, ("a body that says nothing known", {"something": "new"})):
            callback = Callback(body=orjson.dumps(body), received_at=RECEIVED)
            for event in adapter.parse(adapter.verify(callback)).events:
                yield f"From {where}, without `raw`:", event


def examples() -> Mapping[str, Example]:
    """Return an example of each event and content, by its kind, with where it is from."""
    found: dict[str, Example] = {
        f"content {content.kind}": ("To be sent:", content_to_dict(content)) for content in SENT
    }
    for where, event in sampled():
        told = {field: value for field, value in to_dict(event).items() if field != "raw"}
        content = told.get("content")
        if isinstance(content, dict):
            found.setdefault(f"content {content['kind']}", (where, content))
        found.setdefault(f"event {event.kind}", (where, told))
    return found


def shortened(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return JSON whose long texts are cut, to be read on a page."""
    match value:
        case dict():
            return {name: shortened(each) for name, each in value.items()}
        case list():
            return [shortened(each) for each in value]
        case str() if len(value) > _LONG:
            return f"{value[:_LONG]}…"
        case _:
            return value


def shape(schema: Mapping[str, Any]) -> str:
    """Return what a field may hold, in a word with a link where it is a class."""
    match schema:
        case {"$ref": str(reference)}:
            name = reference.rpartition("/")[2]
            return f"[{name}](#{'contents' if name == 'Content' else name.lower()})"
        case {"const": word}:
            return f"`{orjson.dumps(word).decode()}`"
        case {"type": "array", "items": items}:
            return f"list of {shape(items)}"
        case {"format": "date-time"}:
            return "time"
        case {"type": str(word)}:
            return word
        case _:
            return "any JSON"


def definition(name: str, schema: Mapping[str, Any]) -> str:
    """Return the section of one class."""
    parts = [f"### {name}", prose(schema["description"])]
    if "enum" in schema:
        parts.append(", ".join(f"`{word}`" for word in schema["enum"]))
    required = schema.get("required", ())
    rows = [
        (f"`{field}`", shape(told), "always" if field in required else "")
        for field, told in schema.get("properties", {}).items()
    ]
    if rows:
        parts.append(table(("field", "holds", "there"), rows))
    return "\n\n".join(parts)


def shown(example: Example) -> Sequence[str]:
    """Return an example as Markdown."""
    where, told = example
    text = orjson.dumps(shortened(told), option=orjson.OPT_INDENT_2).decode()
    return where, f"```json\n{text}\n```"


def events() -> str:
    """Return the page of the model: events, contents, and what they are made of."""
    schemas: dict[str, Any] = dict(json_schema()["$defs"])  # type: ignore[arg-type]
    schemas.pop("Content")
    known = examples()
    parts = [
        "# Events and contents",
        INTRODUCTION,
        "## Events",
    ]
    for cls in EVENT_CLASSES:
        parts.append(definition(cls.__name__, schemas.pop(cls.__name__)))
        parts += shown(known[f"event {cls.kind}"])
    parts.append("## Contents")
    for cls in CONTENT_CLASSES:
        parts.append(definition(cls.__name__, schemas.pop(cls.__name__)))
        parts += shown(known[f"content {cls.kind}"])
    parts.append("## What they are made of")
    parts += [definition(name, schema) for name, schema in schemas.items()]
    return "\n\n".join(parts) + "\n"


def commands() -> str:
    """Return the page of the commands, as their help has it."""
    _, _, body = command.generate_docs(output_format="markdown", heading_level=1).partition("\n")
    return f"# Commands\n{body}"


def http() -> str:
    """Return the page of the operators' interface, as its OpenAPI document has it."""
    document: Any = openapi()
    parts = ["# The operators' interface over HTTP", INTERFACE]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts.append(f"## {method.upper()} {path}")
            parts += described(operation)
    parts.append("## What they are made of")
    events = document["components"]["schemas"].keys() - {"Event", *json_schema()["$defs"]}  # type: ignore[misc]
    for name, schema in document["components"]["schemas"].items():
        if name in events:
            parts += [f"### {name}", fields(schema)]
    return "\n\n".join(parts) + "\n"


def described(operation: Mapping[str, Any]) -> Iterator[str]:
    """Give what is to be said of one operation."""
    yield operation["summary"]
    parameters = operation.get("parameters", ())
    if parameters:
        rows = [(f"`{p['name']}`", p["in"], told(p["schema"] | p)) for p in parameters]
        yield table(("parameter", "in", "is"), rows)
    if "requestBody" in operation:
        yield "The body is a JSON object:"
        yield fields(operation["requestBody"]["content"]["application/json"]["schema"])
    for status, response in operation["responses"].items():
        for media, content in response.get("content", {}).items():
            if status == "200" and media == "application/json":
                yield "The answer is JSON:"
                yield fields(content["schema"])
            elif status == "200":
                yield f"The answer is `{media}`."
    refusals = [f"{s} {r['description']}" for s, r in operation["responses"].items() if s != "200"]
    if refusals:
        yield "Refusals: " + " ".join(refusals)


def fields(schema: Mapping[str, Any]) -> str:
    """Return the fields of an object as a table, or a link to where they are."""
    if "$ref" in schema:
        return linked(schema)
    required = schema.get("required", ())
    rows = [
        (f"`{name}`", told(each), "always" if name in required else "")
        for name, each in schema["properties"].items()
    ]
    return table(("field", "is", "there"), rows)


def told(schema: Mapping[str, Any]) -> str:
    """Return what a field may hold, and its description."""
    return ". ".join(part for part in (linked(schema), schema.get("description")) if part)


def linked(schema: Mapping[str, Any]) -> str:
    """Return what a field may hold, with links to events' classes and to this page's own."""
    match schema:
        case {"$ref": str(reference)}:
            name = reference.rpartition("/")[2]
            page = "" if name in SCHEMAS or name in OBJECTS else "events.md"
            anchor = {"Event": "events", "Content": "contents"}.get(name, name.lower())
            return f"[{name}]({page}#{anchor})"
        case {"oneOf": list(some)} if some:
            return " or ".join(map(linked, some))
        case {"enum": list(words)}:
            return ", ".join(f"`{word}`" for word in words)
        case {"type": "array", "items": items}:
            return f"list of {linked(items)}"
        case {"type": "object", "properties": properties}:
            return "object of " + ", ".join(f"`{name}`" for name in properties)
        case {"type": "object", "additionalProperties": each}:
            return f"object of {linked(each)} by name"
        case {"format": "date-time"}:
            return "time"
        case {"type": list(words)}:
            return " or ".join(words)
        case {"type": str(word)}:
            return word
        case _:
            return "any JSON"


def metrics() -> str:
    """Return the page of what Prometheus is told."""
    text = asyncio.run(measured())
    rows = []
    for family in text_string_to_metric_families(text):
        labels = dict.fromkeys(name for sample in family.samples for name in sample.labels)
        total = "_total" if family.type == "counter" else ""
        named = ", ".join(f"`{label}`" for label in labels if label != "le")
        rows.append((f"`{family.name}{total}`", family.type, f"{family.documentation} {named}"))
    return f"# Metrics\n\n{MEASURED}\n\n{table(('metric', 'type', 'says; by'), rows)}\n"


async def measured() -> str:
    """Return what a bridge tells Prometheus once something has happened to it."""
    counted = Metrics()
    bridge = Bridge(journal=MemoryJournal())
    bridge.observe(counted)
    bridge.on(Event, name="crm")(lambda _: None)
    for name in installed.adapters():
        bridge.add_adapter(name, without_secrets(name))
    async with bridge:
        for name, adapter in bridge.adapters.items():
            if isinstance(adapter, SampleSource):
                body = orjson.dumps(adapter.samples()[0].body)
                await bridge.receive(name, Callback(body=body, received_at=RECEIVED))
        await bridge.caught_up()
        return (await counted.render(bridge.operators)).decode()


PAGES: Final = {
    "events.md": events,
    "commands.md": commands,
    "http.md": http,
    "metrics.md": metrics,
}


def write(_: Sphinx) -> None:
    """Write each page, where it has changed."""
    folder = HERE / "reference"
    folder.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        path, text = folder / name, page()
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx call `write` first of all."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
