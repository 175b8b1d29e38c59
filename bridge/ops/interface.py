"""The operators' interface over HTTP: what each operation takes and what it answers.

The routes are in `bridge.ops.admin`; a test holds them to this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bridge.journal.protocol import Standing
from bridge.journal.query import MOST
from bridge.model import EVENT_CLASSES
from bridge.model.schema import Schema

PREFIX: Final = "#/components/schemas/"

TEXT: Final[Schema] = {"type": "string"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
YES: Final[Schema] = {"type": "boolean"}
_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_SECONDS: Final[Schema] = {"type": "number", "minimum": 0}


def about(schema: Schema, description: str) -> Schema:
    """Add what a value means."""
    return {**schema, "description": description}


def or_null(schema: Schema) -> Schema:
    """Let null stand in the place of a value."""
    about = {"description": schema["description"]} if "description" in schema else {}
    return {"oneOf": [schema, {"type": "null"}], **about}


def array(items: Schema, **more: int) -> Schema:
    """Describe an array; `more` are its limits."""
    return {"type": "array", "items": items, **more}


def _counts(description: str) -> Schema:
    return {"type": "object", "additionalProperties": _COUNT, "description": description}


def ref(name: str) -> Schema:
    """Name a schema of the document."""
    return {"$ref": f"{PREFIX}{name}"}


def object_of(always: Mapping[str, Schema], perhaps: Mapping[str, Schema] | None = None) -> Schema:
    """Describe an object by the fields that are there always, and perhaps."""
    made: Schema = {"type": "object", "properties": {**always, **(perhaps or {})}}
    return {**made, "required": [*always]} if always else made


_RETRY: Final[Mapping[str, Schema]] = {
    "due_at": about(_TIME, "When the next try is planned."),
    "first_failed_at": _TIME,
    "failed_at": about(_TIME, "When the last try failed."),
    "error": TEXT,
    "where": about(TEXT, "The innermost line of the subscriber's own code."),
    "trace": about(array(TEXT), "The lines of code that the error came through."),
}
_TRIES: Final[Mapping[str, Schema]] = {
    "tries": about(_COUNT, "How many have failed."),
    "replayed": about(YES, "An operator asked for the event again."),
    "begun": about(YES, "A try has begun with what cannot be undone, and its end is unknown."),
}
_NEXT: Final = or_null(about(_COUNT, "Where the next page begins: `after` of the next request."))

SCHEMAS: Final[Mapping[str, Schema]] = {
    "Problem": object_of(
        {"title": TEXT, "status": _COUNT, "detail": about(TEXT, "What is wrong, in words.")}
    ),
    "Entry": object_of(
        {"position": about(_COUNT, "Counts up, with gaps."), "event": ref("Event")},
        {"mended": about(YES, "An unreadable body that has been read since.")},
    ),
    "Held": object_of({"entry": ref("Entry"), **_TRIES}, _RETRY),
    "DeadLetter": object_of(
        {"id": _COUNT, "subscriber": TEXT, "entry": ref("Entry"), **_TRIES}, _RETRY
    ),
    "Outcome": object_of(
        {
            "subscriber": TEXT,
            "standing": {"type": "string", "enum": [each.value for each in Standing]},
            **_TRIES,
        },
        {**_RETRY, "letter": about(_COUNT, "The id of its dead letter.")},
    ),
    "Subscriber": object_of(
        {
            "name": TEXT,
            "position": about(_COUNT, "Everything up to it is done, held or dead."),
            "lag": about(_COUNT, "Events that it has yet to look at."),
            "held": about(_COUNT, "Events that wait for a retry, or behind one that does."),
            "dead": about(_COUNT, "Dead letters."),
            "running": about(YES, "Whether this process serves it."),
            "lag_seconds": about(_SECONDS, "For how long the oldest event of its lag has waited."),
            "held_lanes": about(_COUNT, "Conversations in which events are held."),
            "failed_tries": about(_COUNT, "Since the start."),
        }
    ),
    "Reparsed": object_of(
        {
            "mended": about(YES, "Nothing unreadable is left of it."),
            "keys": about(array(TEXT), "Of the events that came out."),
            "published": about(_COUNT, "How many of them are new."),
        }
    ),
    "Callback": object_of(
        {
            "source": about(TEXT, "The adapter."),
            "received_at": _TIME,
            "client": or_null(about(TEXT, "The network that it came from.")),
            "headers": about(
                array(array(TEXT, minItems=2, maxItems=2)),
                "Names and values; of a secret only its length.",
            ),
            "position": or_null(
                about(_COUNT, "The entry that was published for it; null of a repetition.")
            ),
        }
    ),
    "Source": object_of(
        {
            "name": about(TEXT, "The adapter."),
            "quiet": about(YES, "No callback was accepted for 20 minutes."),
            "accepted_at": or_null(_TIME),
            "refused_at": or_null(_TIME),
            "refusals": _counts("How many were refused since the start, by reason."),
        }
    ),
    "Failure": object_of(
        {
            "source": about(TEXT, "The adapter."),
            "status": {"type": "string", "enum": ["failed", "expired"]},
            "code": or_null(TEXT),
            "title": or_null(TEXT),
            "count": _COUNT,
            "remedy": or_null(TEXT),
            "advice": or_null(about(TEXT, "What to do, in words.")),
            "position": about(_COUNT, "Of the last such status."),
            "last_at": _TIME,
        }
    ),
}

_MASKED: Final[Mapping[str, Schema]] = {
    "masked": about(YES, "Mask phone numbers, names and texts; false is put on record."),
}
_LIMIT: Final[Mapping[str, Schema]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": MOST, "default": 100},
}
_FILTERS: Final[Mapping[str, Schema]] = {
    "kind": about(
        array({"type": "string", "enum": [cls.kind for cls in EVENT_CLASSES]}),
        "Only these kinds; may be repeated.",
    ),
    "channel": TEXT,
    "account": about(TEXT, "The business's id on the channel."),
    "content": about(TEXT, "Only messages with this kind of content."),
    "conversation": TEXT,
    "message_id": about(TEXT, "Only events about this message, by any of its ids."),
    "party": about(TEXT, "Only events about this person: a phone with + or a user id."),
    "since": about(_TIME, "Received at this time or later."),
    "until": about(_TIME, "Received before this time."),
    "mended": about(YES, "Only unreadable bodies that have been read since, or have not."),
    "conversation_of": about(_COUNT, "The conversation of the event at this position."),
}
SEARCH: Final[Mapping[str, Schema]] = {
    **_FILTERS,
    "after": about(_COUNT, "Beyond this position."),
    "before": about(_COUNT, "Before this position."),
    "newest_first": YES,
    **_LIMIT,
    **_MASKED,
}
"""The parameters of a search for events."""

_KEYS: Final[Mapping[str, Schema]] = {
    "keys": about(array(TEXT, maxItems=MOST), "Events' keys."),
    "positions": about(array(_COUNT, maxItems=MOST), "In place of `keys`."),
}
_DRY: Final[Mapping[str, Schema]] = {"dry_run": about(YES, "Tell what would happen.")}
_LETTERS: Final[Mapping[str, Schema]] = {
    "ids": about(array(_COUNT), "Dead letters; all of them without it."),
    "subscriber": about(TEXT, "Whose, where all are meant."),
}
_NAME: Final = "name"


def _operation(
    summary: str,
    answer: Schema | str | None = None,
    *,
    query: Mapping[str, Schema] | None = None,
    body: Mapping[str, Schema] | None = None,
    errors: tuple[int, ...] = (),
    path: str | None = None,
    is_public: bool = False,
) -> Schema:
    """Describe an operation, of which `answer` is the JSON or the media type."""
    content: Schema = (
        {answer: {"schema": TEXT}}
        if isinstance(answer, str)
        else {"application/json": {"schema": answer}}
    )
    parameters: list[Schema] = [
        {"name": name, "in": "query", "schema": schema} for name, schema in (query or {}).items()
    ]
    if path is not None:
        parameters.insert(0, {"name": path, "in": "path", "required": True, "schema": TEXT})
    made: Schema = {"summary": summary, **({"security": []} if is_public else {})}
    if parameters:
        made["parameters"] = [*parameters]
    if body is not None:
        made["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": object_of({}, body)}},
        }
    return {
        **made,
        "responses": {
            "200": {"description": "Done.", "content": content},
            **{str(status): problem(_ERRORS[status]) for status in sorted(errors)},
        },
    }


def problem(description: str) -> Schema:
    """Describe a response that says what is wrong."""
    content: Schema = {"application/problem+json": {"schema": ref("Problem")}}
    return {"description": description, "content": content}


_ERRORS: Final[Mapping[int, str]] = {
    400: "The request makes no sense.",
    401: "The token is missing or wrong.",
    403: "The token may only read, or the request is another site's.",
    404: "There is no such thing.",
    409: "The subscriber runs.",
    503: "The journal cannot be read or written now.",
}
_READ: Final = (401, 503)
_ASKED: Final = (400, *_READ)
_CHANGE: Final = (400, 401, 403, 503)


_OPERATIONS: Final[Mapping[str, Schema]] = {
    "GET /healthz": _operation(
        "Whether the process lives; needs no token.", "text/plain", is_public=True
    ),
    "GET /readyz": _operation(
        "Whether a callback would be taken now, and why not; needs no token.",
        "text/plain",
        is_public=True,
    ),
    "GET /metrics": _operation("What Prometheus is told.", "text/plain", errors=(401,)),
    "GET /status": _operation(
        "What an operator looks at first.",
        object_of(
            {
                "version": TEXT,
                "started_at": _TIME,
                "ready": YES,
                "reason": or_null(about(TEXT, "Why not, or what needs attention.")),
                "spooled": or_null(about(_COUNT, "Events in the spool.")),
                "set_aside": about(_COUNT, "Damaged files that nobody has moved away."),
                "losses": about(_COUNT, "How often the journal's files were gone."),
                "deaths": about(_COUNT, "Tasks of the journal that failed and were replaced."),
                "size": or_null(about(_COUNT, "Of the journal, in bytes.")),
                "free": or_null(about(_COUNT, "Bytes on its disk.")),
                "durable": YES,
                "chat": about(YES, "Whether the inspector offers a chat."),
                "adapters": array(TEXT),
                "sources": array(ref("Source")),
                "subscribers": array(ref("Subscriber")),
                "sends": or_null(
                    about(
                        object_of({"waiting": _COUNT, "dead": _COUNT}),
                        "How many messages are to go out at most, and are given up; null "
                        "where no adapter sends.",
                    )
                ),
                "last_event": or_null(
                    object_of({"key": TEXT, "position": _COUNT, "kind": TEXT, "received_at": _TIME})
                ),
            }
        ),
        query=_MASKED,
        errors=_ASKED,
    ),
    "GET /events": _operation(
        "Search events; a page of them.",
        object_of({"entries": array(ref("Entry")), "next": _NEXT}),
        query=SEARCH,
        errors=_ASKED,
    ),
    "GET /event": _operation(
        "One event with all that is known about it.",
        object_of(
            {
                "entry": ref("Entry"),
                "outcomes": array(ref("Outcome")),
                "history": about(array(ref("Entry")), "Entries about the same message, in order."),
                "callbacks": about(
                    array(ref("Callback")), "The latest callbacks that contained it."
                ),
                "callbacks_since": about(_TIME, "The server's start."),
            }
        ),
        query={
            "key": about(
                TEXT, "As the log and the commands print it, or whole; or a provider's id."
            ),
            "position": about(_COUNT, "In place of `key`."),
            **_MASKED,
        },
        errors=(*_ASKED, 404),
    ),
    "GET /events/follow": _operation(
        "Follow events, one JSON object a line: entries, and from time to time a "
        "`position` from which to go on; as server-sent events where these are accepted.",
        "application/x-ndjson",
        query=SEARCH,
        errors=_ASKED,
    ),
    "GET /export": _operation(
        "The whole journal, as `bridge import` reads it; not for a reader's token.",
        "application/x-ndjson",
        errors=(401, 403, 503),
    ),
    "GET /subscribers": _operation(
        "Every subscriber that the journal knows.",
        object_of({"subscribers": array(ref("Subscriber"))}),
        errors=_READ,
    ),
    "GET /subscribers/{name}/held": _operation(
        "The events that a subscriber tries again, each of which blocks its conversation.",
        object_of({"held": array(ref("Held"))}),
        path=_NAME,
        query={**_LIMIT, **_MASKED},
        errors=(*_ASKED, 404),
    ),
    "DELETE /subscribers/{name}": _operation(
        "Forget a subscriber that does not run, with all that it held.",
        object_of({"forgotten": TEXT}),
        path=_NAME,
        errors=(401, 403, 404, 409, 503),
    ),
    "GET /dead": _operation(
        "Dead letters, oldest first; a page of them.",
        object_of({"letters": array(ref("DeadLetter")), "next": _NEXT}),
        query={
            "id": about(_COUNT, "This one only."),
            "subscriber": TEXT,
            "after": about(_COUNT, "Beyond this id."),
            **_LIMIT,
            **_MASKED,
        },
        errors=_ASKED,
    ),
    "POST /dead/retry": _operation(
        "Give dead letters to their subscribers again.",
        object_of({"retried": _COUNT}),
        body=_LETTERS,
        errors=(*_CHANGE, 404),
    ),
    "POST /dead/drop": _operation(
        "Drop dead letters.", object_of({"dropped": _COUNT}), body=_LETTERS, errors=(*_CHANGE, 404)
    ),
    "POST /replay": _operation(
        "Give subscribers events again: those named, or a page of those that the search "
        "in the query finds.",
        object_of(
            {
                "subscribers": _counts("How many each subscriber gets."),
                "unknown": about(array(TEXT), "Keys that the journal does not know."),
                "next": _NEXT,
            }
        ),
        query=SEARCH,
        body={**_KEYS, "subscriber": TEXT, **_DRY},
        errors=(*_CHANGE, 404),
    ),
    "POST /reparse": _operation(
        "Parse unreadable bodies again, as after an update.",
        object_of(
            {
                "reparsed": {
                    "type": "object",
                    "description": "By key; null for what is not there or was readable.",
                    "additionalProperties": or_null(ref("Reparsed")),
                }
            }
        ),
        body={**_KEYS, **_DRY},
        errors=_CHANGE,
    ),
    "POST /normalize": _operation(
        "The events that an adapter makes of a body; nothing is kept.",
        object_of(
            {
                "events": array(ref("Event")),
                "malformed": or_null(about(TEXT, "Why the body is no JSON.")),
            }
        ),
        body={"adapter": TEXT, "body": about(TEXT, "A callback's body, as text.")},
        errors=(*_ASKED, 404),
    ),
    "POST /purge": _operation(
        "Erase every event about one person, for good.",
        object_of({"erased": _COUNT}),
        body={"subject": about(TEXT, "A phone with + or a user id.")},
        errors=_CHANGE,
    ),
    "GET /outbox": _operation(
        "How sending stands, and what failed of late.",
        object_of(
            {
                "sending": or_null(
                    object_of(
                        {
                            "running": YES,
                            "waiting": _COUNT,
                            "lag_seconds": _SECONDS,
                            "held_lanes": _COUNT,
                            "dead": _COUNT,
                        }
                    )
                ),
                "put_off": about(_COUNT, "Messages that wait for a try, up to 1,000."),
                "under_way": about(_COUNT, "Of which a request has begun."),
                "in_doubt": about(_COUNT, "Of which nobody knows whether they went."),
                "held": array(ref("Held")),
                "refusals": _counts("What was refused since the start, by reason."),
                "failures": array(ref("Failure")),
            }
        ),
        query={**_LIMIT, **_MASKED},
        errors=_ASKED,
    ),
}


def paths() -> Schema:
    """Return every operation but `POST /send`, by path and method."""
    made: dict[str, Schema] = {}
    for name, operation in _OPERATIONS.items():
        method, _, path = name.partition(" ")
        made.setdefault(path, {})[method.lower()] = operation
    return {**made}
