"""Write the reference pages from what they describe, before Sphinx reads them.

The model's classes, the adapters' samples, the example configuration and the commands are the
only sources: a field, a setting or an option that is added stands in the reference by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson
from sphinx.application import Sphinx

from bridge import assembly
from bridge.adapter import Callback, SampleSource
from bridge.assembly import without_secrets
from bridge.cli.main import app as command
from bridge.model import CONTENT_CLASSES, EVENT_CLASSES, Event
from bridge.model.codec import to_dict
from bridge.model.schema import json_schema

HERE: Final = Path(__file__).parent
RECEIVED: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
_LONG: Final = 60  # characters of a text in an example
INTRODUCTION: Final = """\
What a subscriber gets, as Python classes of `bridge` and as JSON of the same words.
In JSON, fields that say nothing are left out, and times end in `Z`.
`bridge schema` prints the same as JSON Schema, `bridge schema --format asyncapi` as AsyncAPI."""

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
    """Return each sample's name and the events that its adapter makes of it."""
    for name in assembly.installed():
        adapter = without_secrets(name)
        if not isinstance(adapter, SampleSource):
            continue
        for sample in adapter.samples():
            callback = Callback(body=orjson.dumps(sample.body), received_at=RECEIVED)
            for event in adapter.parse(adapter.verify(callback)).events:
                yield f"{name}/{sample.name}", event


def examples() -> Mapping[str, Example]:
    """Return an example of each event and content, by its kind, with the sample's name."""
    found: dict[str, Example] = {}
    for name, event in sampled():
        told = {field: value for field, value in to_dict(event).items() if field != "raw"}
        content = told.get("content")
        if isinstance(content, dict):
            found.setdefault(f"content {content['kind']}", (name, content))
        found.setdefault(f"event {event.kind}", (name, told))
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


def shown(example: Example | None) -> Sequence[str]:
    """Return an example as Markdown, if there is one."""
    if example is None:
        return ()
    name, told = example
    text = orjson.dumps(shortened(told), option=orjson.OPT_INDENT_2).decode()
    return (f"From the sample `{name}`, without `raw`:", f"```json\n{text}\n```")


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
        parts += shown(known.get(f"event {cls.kind}"))
    parts.append("## Contents")
    for cls in CONTENT_CLASSES:
        parts.append(definition(cls.__name__, schemas.pop(cls.__name__)))
        parts += shown(known.get(f"content {cls.kind}"))
    parts.append("## What they are made of")
    parts += [definition(name, schema) for name, schema in schemas.items()]
    return "\n\n".join(parts) + "\n"


def commands() -> str:
    """Return the page of the commands, as their help has it."""
    _, _, body = command.generate_docs(output_format="markdown", heading_level=1).partition("\n")
    return f"# Commands\n{body}"


PAGES: Final = {"events.md": events, "commands.md": commands}


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
