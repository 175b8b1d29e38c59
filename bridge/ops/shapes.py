"""JSON Schemas of the requests and responses of the operators' interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bridge.journal.protocol import Standing
from bridge.model.schema import Schema

PREFIX: Final = "#/components/schemas/"

TEXT: Final[Schema] = {"type": "string"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
YES: Final[Schema] = {"type": "boolean"}
TIME: Final[Schema] = {"type": "string", "format": "date-time"}
SECONDS: Final[Schema] = {"type": "number", "minimum": 0}


def about(schema: Schema, description: str) -> Schema:
    """Add a description to a schema."""
    return {**schema, "description": description}


def or_null(schema: Schema) -> Schema:
    """Allow null as well."""
    about = {"description": schema["description"]} if "description" in schema else {}
    return {"oneOf": [schema, {"type": "null"}], **about}


def array(items: Schema, **more: int) -> Schema:
    """Describe an array; `more` are its limits."""
    return {"type": "array", "items": items, **more}


def counts(description: str) -> Schema:
    """Describe an object of numbers by name."""
    return {"type": "object", "additionalProperties": COUNT, "description": description}


def ref(name: str) -> Schema:
    """Return a reference to a schema of the document."""
    return {"$ref": f"{PREFIX}{name}"}


def object_of(always: Mapping[str, Schema], perhaps: Mapping[str, Schema] | None = None) -> Schema:
    """Describe an object by its required and its optional fields."""
    made: Schema = {"type": "object", "properties": {**always, **(perhaps or {})}}
    return {**made, "required": [*always]} if always else made


def problem(description: str) -> Schema:
    """Describe a response that says what is wrong."""
    content: Schema = {"application/problem+json": {"schema": ref("Problem")}}
    return {"description": description, "content": content}


_RETRY: Final[Mapping[str, Schema]] = {
    "due_at": about(TIME, "When the next try is planned."),
    "first_failed_at": TIME,
    "failed_at": about(TIME, "When the last try failed."),
    "error": TEXT,
    "where": about(TEXT, "The innermost line of the subscriber's own code."),
    "trace": about(array(TEXT), "The lines of code that the error came through."),
}
_TRIES: Final[Mapping[str, Schema]] = {
    "tries": about(COUNT, "How many have failed."),
    "replayed": about(YES, "An operator asked for the event again."),
    "begun": about(YES, "A try has begun that cannot be undone, and its outcome is unknown."),
}

SCHEMAS: Final[Mapping[str, Schema]] = {
    "Problem": object_of(
        {"title": TEXT, "status": COUNT, "detail": about(TEXT, "What is wrong, in words.")}
    ),
    "Entry": object_of(
        {"position": about(COUNT, "Counts up, with gaps."), "event": ref("Event")},
        {"mended": about(YES, "An unreadable body that has been read since.")},
    ),
    "Held": object_of({"entry": ref("Entry"), **_TRIES}, _RETRY),
    "DeadLetter": object_of(
        {"id": COUNT, "subscriber": TEXT, "entry": ref("Entry"), **_TRIES}, _RETRY
    ),
    "Outcome": object_of(
        {
            "subscriber": TEXT,
            "standing": {"type": "string", "enum": [each.value for each in Standing]},
            **_TRIES,
        },
        {**_RETRY, "letter": about(COUNT, "The id of its dead letter.")},
    ),
    "Subscriber": object_of(
        {
            "name": TEXT,
            "position": about(COUNT, "Everything up to it is done, held or dead."),
            "lag": about(COUNT, "Events beyond its position."),
            "held": about(COUNT, "Events that wait for a retry, or behind one that does."),
            "dead": about(COUNT, "Dead letters."),
            "running": about(YES, "Whether this process serves it."),
            "lag_seconds": about(SECONDS, "For how long the oldest event of its lag has waited."),
            "held_lanes": about(COUNT, "Conversations in which events are held."),
            "failed_tries": about(COUNT, "Since the start."),
        }
    ),
    "Reparsed": object_of(
        {
            "mended": about(YES, "Nothing unreadable is left of it."),
            "keys": about(array(TEXT), "Of the events that came out."),
            "published": about(COUNT, "How many of them are new."),
        }
    ),
    "Callback": object_of(
        {
            "source": about(TEXT, "The adapter."),
            "received_at": TIME,
            "client": or_null(about(TEXT, "The network that it came from.")),
            "headers": about(
                array(array(TEXT, minItems=2, maxItems=2)),
                "Names and values; of a secret only its length.",
            ),
            "position": or_null(
                about(COUNT, "The entry that was published for it; null of a repetition.")
            ),
        }
    ),
    "Source": object_of(
        {
            "name": about(TEXT, "The adapter."),
            "quiet": about(YES, "No callback was accepted for 20 minutes."),
            "accepted_at": or_null(TIME),
            "refused_at": or_null(TIME),
            "refusals": counts("How many were refused since the start, by reason."),
        }
    ),
    "Failure": object_of(
        {
            "source": about(TEXT, "The adapter."),
            "status": {"type": "string", "enum": ["failed", "expired"]},
            "code": or_null(TEXT),
            "title": or_null(TEXT),
            "count": COUNT,
            "remedy": or_null(TEXT),
            "advice": or_null(about(TEXT, "What to do, in words.")),
            "position": about(COUNT, "Of the last such status."),
            "last_at": TIME,
        }
    ),
}
