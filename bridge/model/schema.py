"""What a subscriber in another language may rely on, generated from the model.

`json_schema` and `asyncapi` describe the JSON that `bridge.model.codec` writes: which fields are
always there, what each may hold, and the model's own words about them. A later version may add
fields, kinds and words to enumerations; it takes none away.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from importlib import metadata
from typing import Final, TypeAlias, get_args, get_origin, get_type_hints

import attrs

from bridge.model import CONTENT_CLASSES, EVENT_CLASSES, Content, ContentT_co, JsonValue
from bridge.model.hints import JSON, PUBLIC, Hint, present

Schema: TypeAlias = dict[str, JsonValue]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
ASYNCAPI: Final = "3.0.0"

_CONTENT: Final = "Content"
_KINDS: Final[Mapping[type, str]] = {cls: cls.kind for cls in (*EVENT_CLASSES, *CONTENT_CLASSES)}
_SCALARS: Final[dict[Hint, Schema]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    datetime: {"type": "string", "format": "date-time", "pattern": "Z$"},
    Decimal: {"type": "string", "pattern": r"^-?\d+(\.\d+)?(E[+-]?\d+)?$"},
}
_PROMISES: Final = """\
An event as incs-bridge writes it: one JSON object; its `kind` says which event it is.

Fields that are not required are left out where there is nothing to say; none of them is null.
A later version may add fields, kinds, and words to enumerations: ignore what you do not know.
The same event has the same `key`, whichever callback told it: delivery is at least once."""


def json_schema() -> Schema:
    """Return a JSON Schema (2020-12) of every event.

    https://json-schema.org/draft/2020-12
    """
    every = definitions("#/$defs/")
    return {
        "$schema": DIALECT,
        "title": "incs-bridge event",
        "description": _PROMISES,
        "oneOf": [{"$ref": f"#/$defs/{cls.__name__}"} for cls in EVENT_CLASSES],
        "$defs": every,
    }


def asyncapi() -> Schema:
    """Return an AsyncAPI document: the stream of events that the bridge sends.

    https://www.asyncapi.com/docs/reference/specification/v3.0.0
    """
    messages = {cls.kind: f"#/components/messages/{cls.__name__}" for cls in EVENT_CLASSES}
    channel = "#/channels/events"
    return {
        "asyncapi": ASYNCAPI,
        "info": {
            "title": "incs-bridge events",
            "version": metadata.version("incs-bridge"),
            "description": _PROMISES,
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "events": {
                # Null is for an address that is known only at run time.
                "address": None,
                "title": "Every event",
                "description": "Events of one conversation come one at a time and in order.",
                "messages": {kind: {"$ref": place} for kind, place in messages.items()},
            }
        },
        "operations": {
            "sendEvent": {
                "action": "send",
                "channel": {"$ref": channel},
                "summary": "The bridge hands each event to every subscriber, at least once.",
                "messages": [{"$ref": f"{channel}/messages/{kind}"} for kind in messages],
            }
        },
        "components": {
            "messages": {
                cls.__name__: {
                    "name": cls.kind,
                    "title": cls.__name__,
                    "summary": _doc(cls).partition("\n")[0],
                    "contentType": "application/json",
                    "payload": {"$ref": f"#/components/schemas/{cls.__name__}"},
                }
                for cls in EVENT_CLASSES
            },
            "schemas": definitions("#/components/schemas/"),
        },
    }


def definitions(prefix: str, *, is_read: bool = False) -> Schema:
    """Return a schema for each class that an event may hold, by its name.

    JSON that is written always holds fields that may be left out of JSON that `is_read`.
    """
    found: Schema = {
        _CONTENT: {
            "description": "What a message may hold; its `kind` says which content it is.",
            "oneOf": [{"$ref": f"{prefix}{cls.__name__}"} for cls in CONTENT_CLASSES],
        }
    }
    for cls in _KINDS:
        _define(cls, found, prefix)
    if is_read:
        for cls in PUBLIC:
            definition = found.get(cls.__name__)
            if isinstance(definition, dict) and attrs.has(cls) and "required" in definition:
                needed = [f.name for f in attrs.fields(cls) if f.default is attrs.NOTHING]
                definition["required"] = [*(["kind"] if cls in _KINDS else []), *needed]
    return dict(sorted(found.items()))


def _define(cls: type, found: Schema, prefix: str) -> None:
    if cls.__name__ in found:
        return
    if issubclass(cls, StrEnum):
        found[cls.__name__] = {
            "description": _doc(cls),
            "type": "string",
            "enum": [member.value for member in cls],
        }
        return
    definition: Schema = {"description": _doc(cls), "type": "object"}
    found[cls.__name__] = definition
    properties: Schema = {}
    required: list[JsonValue] = []
    if cls in _KINDS:
        properties["kind"] = {"const": _KINDS[cls]}
        required.append("kind")
    hints = get_type_hints(cls)
    fields: tuple[attrs.Attribute[object], ...] = attrs.fields(cls)  # type: ignore[arg-type]
    for field in fields:
        properties[field.name] = _schema(hints[field.name], found, prefix)
        if field.default is not None:  # the codec leaves out a default of None and no other
            required.append(field.name)
    definition["properties"] = properties
    if required:
        definition["required"] = required


def _schema(hint: Hint, found: Schema, prefix: str) -> JsonValue:
    if hint == JSON:
        return {"description": "Any JSON: the provider's own."}
    if hint in (Content, ContentT_co):
        return {"$ref": f"{prefix}{_CONTENT}"}
    if hint in _SCALARS:
        return dict(_SCALARS[hint])
    if isinstance(hint, type):
        _define(hint, found, prefix)
        return {"$ref": f"{prefix}{hint.__name__}"}
    origin: object = get_origin(hint)
    if origin is tuple:
        return {"type": "array", "items": _schema(get_args(hint)[0], found, prefix)}
    if origin is dict:
        return {"type": "object"}
    return _schema(present(hint), found, prefix)


def _doc(cls: type) -> str:
    return inspect.getdoc(cls) or ""
