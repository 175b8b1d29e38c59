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

_TEXT: Final[Schema] = {"type": "string"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_YES: Final[Schema] = {"type": "boolean"}
_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_SECONDS: Final[Schema] = {"type": "number", "minimum": 0}


def _about(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}


def _or_null(schema: Schema) -> Schema:
    about = {"description": schema["description"]} if "description" in schema else {}
    return {"oneOf": [schema, {"type": "null"}], **about}


def _list(items: Schema, **more: int) -> Schema:
    return {"type": "array", "items": items, **more}


def _counts(description: str) -> Schema:
    return {"type": "object", "additionalProperties": _COUNT, "description": description}


def _ref(name: str) -> Schema:
    return {"$ref": f"{PREFIX}{name}"}


def _object(always: Mapping[str, Schema], perhaps: Mapping[str, Schema] | None = None) -> Schema:
    made: Schema = {"type": "object", "properties": {**always, **(perhaps or {})}}
    return {**made, "required": [*always]} if always else made


_RETRY: Final[Mapping[str, Schema]] = {
    "due_at": _about(_TIME, "When the next try is planned."),
    "first_failed_at": _TIME,
    "failed_at": _about(_TIME, "When the last try failed."),
    "error": _TEXT,
    "where": _about(_TEXT, "The innermost line of the subscriber's own code."),
    "trace": _about(_list(_TEXT), "The lines of code that the error came through."),
}
_TRIES: Final[Mapping[str, Schema]] = {
    "tries": _about(_COUNT, "How many have failed."),
    "replayed": _about(_YES, "An operator asked for the event again."),
    "begun": _about(_YES, "A try has begun with what cannot be undone, and its end is unknown."),
}
_NEXT: Final = _or_null(_about(_COUNT, "Where the next page begins: `after` of the next request."))

SCHEMAS: Final[Mapping[str, Schema]] = {
    "Problem": _object(
        {"title": _TEXT, "status": _COUNT, "detail": _about(_TEXT, "What is wrong, in words.")}
    ),
    "Entry": _object(
        {"position": _about(_COUNT, "Counts up, with gaps."), "event": _ref("Event")},
        {"mended": _about(_YES, "An unreadable body that has been read since.")},
    ),
    "Held": _object({"entry": _ref("Entry"), **_TRIES}, _RETRY),
    "DeadLetter": _object(
        {"id": _COUNT, "subscriber": _TEXT, "entry": _ref("Entry"), **_TRIES}, _RETRY
    ),
    "Outcome": _object(
        {
            "subscriber": _TEXT,
            "standing": {"type": "string", "enum": [each.value for each in Standing]},
            **_TRIES,
        },
        {**_RETRY, "letter": _about(_COUNT, "The id of its dead letter.")},
    ),
    "Subscriber": _object(
        {
            "name": _TEXT,
            "position": _about(_COUNT, "Everything up to it is done, held or dead."),
            "lag": _about(_COUNT, "Events that it has yet to look at."),
            "held": _about(_COUNT, "Events that wait for a retry, or behind one that does."),
            "dead": _about(_COUNT, "Dead letters."),
            "running": _about(_YES, "Whether this process serves it."),
            "lag_seconds": _about(_SECONDS, "For how long the oldest event of its lag has waited."),
            "held_lanes": _about(_COUNT, "Conversations in which events are held."),
            "failed_tries": _about(_COUNT, "Since the start."),
        }
    ),
    "Reparsed": _object(
        {
            "mended": _about(_YES, "Nothing unreadable is left of it."),
            "keys": _about(_list(_TEXT), "Of the events that came out."),
            "published": _about(_COUNT, "How many of them are new."),
        }
    ),
    "Callback": _object(
        {
            "source": _about(_TEXT, "The adapter."),
            "received_at": _TIME,
            "client": _or_null(_about(_TEXT, "The network that it came from.")),
            "headers": _about(
                _list(_list(_TEXT, minItems=2, maxItems=2)),
                "Names and values; of a secret only its length.",
            ),
            "position": _or_null(
                _about(_COUNT, "The entry that was published for it; null of a repetition.")
            ),
        }
    ),
    "Source": _object(
        {
            "name": _about(_TEXT, "The adapter."),
            "quiet": _about(_YES, "No callback was accepted for 20 minutes."),
            "accepted_at": _or_null(_TIME),
            "refused_at": _or_null(_TIME),
            "refusals": _counts("How many were refused since the start, by reason."),
        }
    ),
    "Failure": _object(
        {
            "source": _about(_TEXT, "The adapter."),
            "status": {"type": "string", "enum": ["failed", "expired"]},
            "code": _or_null(_TEXT),
            "title": _or_null(_TEXT),
            "count": _COUNT,
            "remedy": _or_null(_TEXT),
            "advice": _or_null(_about(_TEXT, "What to do, in words.")),
            "position": _about(_COUNT, "Of the last such status."),
            "last_at": _TIME,
        }
    ),
}

_MASKED: Final[Mapping[str, Schema]] = {
    "masked": _about(_YES, "Mask phone numbers, names and texts; false is put on record."),
}
_LIMIT: Final[Mapping[str, Schema]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": MOST, "default": 100},
}
_FILTERS: Final[Mapping[str, Schema]] = {
    "kind": _about(
        _list({"type": "string", "enum": [cls.kind for cls in EVENT_CLASSES]}),
        "Only these kinds; may be repeated.",
    ),
    "channel": _TEXT,
    "account": _about(_TEXT, "The business's id on the channel."),
    "content": _about(_TEXT, "Only messages with this kind of content."),
    "conversation": _TEXT,
    "message_id": _about(_TEXT, "Only events about this message, by any of its ids."),
    "party": _about(_TEXT, "Only events about this person: a phone with + or a user id."),
    "since": _about(_TIME, "Received at this time or later."),
    "until": _about(_TIME, "Received before this time."),
    "mended": _about(_YES, "Only unreadable bodies that have been read since, or have not."),
    "conversation_of": _about(_COUNT, "The conversation of the event at this position."),
}
SEARCH: Final[Mapping[str, Schema]] = {
    **_FILTERS,
    "after": _about(_COUNT, "Beyond this position."),
    "before": _about(_COUNT, "Before this position."),
    "newest_first": _YES,
    **_LIMIT,
    **_MASKED,
}
"""The parameters of a search for events."""

_KEYS: Final[Mapping[str, Schema]] = {
    "keys": _about(_list(_TEXT, maxItems=MOST), "Events' keys."),
    "positions": _about(_list(_COUNT, maxItems=MOST), "In place of `keys`."),
}
_DRY: Final[Mapping[str, Schema]] = {"dry_run": _about(_YES, "Tell what would happen.")}
_LETTERS: Final[Mapping[str, Schema]] = {
    "ids": _about(_list(_COUNT), "Dead letters; all of them without it."),
    "subscriber": _about(_TEXT, "Whose, where all are meant."),
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
        {answer: {"schema": _TEXT}}
        if isinstance(answer, str)
        else {"application/json": {"schema": answer}}
    )
    parameters: list[Schema] = [
        {"name": name, "in": "query", "schema": schema} for name, schema in (query or {}).items()
    ]
    if path is not None:
        parameters.insert(0, {"name": path, "in": "path", "required": True, "schema": _TEXT})
    made: Schema = {"summary": summary, **({"security": []} if is_public else {})}
    if parameters:
        made["parameters"] = [*parameters]
    if body is not None:
        made["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _object({}, body)}},
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
    content: Schema = {"application/problem+json": {"schema": _ref("Problem")}}
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
        _object(
            {
                "version": _TEXT,
                "started_at": _TIME,
                "ready": _YES,
                "reason": _or_null(_about(_TEXT, "Why not, or what needs attention.")),
                "spooled": _or_null(_about(_COUNT, "Events in the spool.")),
                "set_aside": _about(_COUNT, "Damaged files that nobody has moved away."),
                "losses": _about(_COUNT, "How often the journal's files were gone."),
                "deaths": _about(_COUNT, "Tasks of the journal that failed and were replaced."),
                "size": _or_null(_about(_COUNT, "Of the journal, in bytes.")),
                "free": _or_null(_about(_COUNT, "Bytes on its disk.")),
                "durable": _YES,
                "chat": _about(_YES, "Whether the inspector offers a chat."),
                "adapters": _list(_TEXT),
                "sources": _list(_ref("Source")),
                "subscribers": _list(_ref("Subscriber")),
                "sends": _or_null(
                    _about(
                        _object({"waiting": _COUNT, "dead": _COUNT}),
                        "How many messages are to go out at most, and are given up; null "
                        "where no adapter sends.",
                    )
                ),
                "last_event": _or_null(
                    _object({"key": _TEXT, "position": _COUNT, "kind": _TEXT, "received_at": _TIME})
                ),
            }
        ),
        query=_MASKED,
        errors=_ASKED,
    ),
    "GET /events": _operation(
        "Search events; a page of them.",
        _object({"entries": _list(_ref("Entry")), "next": _NEXT}),
        query=SEARCH,
        errors=_ASKED,
    ),
    "GET /event": _operation(
        "One event with all that is known about it.",
        _object(
            {
                "entry": _ref("Entry"),
                "outcomes": _list(_ref("Outcome")),
                "history": _about(
                    _list(_ref("Entry")), "Entries about the same message, in order."
                ),
                "callbacks": _about(
                    _list(_ref("Callback")), "The latest callbacks that contained it."
                ),
                "callbacks_since": _about(_TIME, "The server's start."),
            }
        ),
        query={
            "key": _about(
                _TEXT, "As the log and the commands print it, or whole; or a provider's id."
            ),
            "position": _about(_COUNT, "In place of `key`."),
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
        _object({"subscribers": _list(_ref("Subscriber"))}),
        errors=_READ,
    ),
    "GET /subscribers/{name}/held": _operation(
        "The events that a subscriber tries again, each of which blocks its conversation.",
        _object({"held": _list(_ref("Held"))}),
        path=_NAME,
        query={**_LIMIT, **_MASKED},
        errors=(*_ASKED, 404),
    ),
    "DELETE /subscribers/{name}": _operation(
        "Forget a subscriber that does not run, with all that it held.",
        _object({"forgotten": _TEXT}),
        path=_NAME,
        errors=(401, 403, 404, 409, 503),
    ),
    "GET /dead": _operation(
        "Dead letters, oldest first; a page of them.",
        _object({"letters": _list(_ref("DeadLetter")), "next": _NEXT}),
        query={
            "id": _about(_COUNT, "This one only."),
            "subscriber": _TEXT,
            "after": _about(_COUNT, "Beyond this id."),
            **_LIMIT,
            **_MASKED,
        },
        errors=_ASKED,
    ),
    "POST /dead/retry": _operation(
        "Give dead letters to their subscribers again.",
        _object({"retried": _COUNT}),
        body=_LETTERS,
        errors=(*_CHANGE, 404),
    ),
    "POST /dead/drop": _operation(
        "Drop dead letters.", _object({"dropped": _COUNT}), body=_LETTERS, errors=(*_CHANGE, 404)
    ),
    "POST /replay": _operation(
        "Give subscribers events again: those named, or a page of those that the search "
        "in the query finds.",
        _object(
            {
                "subscribers": _counts("How many each subscriber gets."),
                "unknown": _about(_list(_TEXT), "Keys that the journal does not know."),
                "next": _NEXT,
            }
        ),
        query=SEARCH,
        body={**_KEYS, "subscriber": _TEXT, **_DRY},
        errors=(*_CHANGE, 404),
    ),
    "POST /reparse": _operation(
        "Parse unreadable bodies again, as after an update.",
        _object(
            {
                "reparsed": {
                    "type": "object",
                    "description": "By key; null for what is not there or was readable.",
                    "additionalProperties": _or_null(_ref("Reparsed")),
                }
            }
        ),
        body={**_KEYS, **_DRY},
        errors=_CHANGE,
    ),
    "POST /normalize": _operation(
        "The events that an adapter makes of a body; nothing is kept.",
        _object(
            {
                "events": _list(_ref("Event")),
                "malformed": _or_null(_about(_TEXT, "Why the body is no JSON.")),
            }
        ),
        body={"adapter": _TEXT, "body": _about(_TEXT, "A callback's body, as text.")},
        errors=(*_ASKED, 404),
    ),
    "POST /purge": _operation(
        "Erase every event about one person, for good.",
        _object({"erased": _COUNT}),
        body={"subject": _about(_TEXT, "A phone with + or a user id.")},
        errors=_CHANGE,
    ),
    "GET /outbox": _operation(
        "How sending stands, and what failed of late.",
        _object(
            {
                "sending": _or_null(
                    _object(
                        {
                            "running": _YES,
                            "waiting": _COUNT,
                            "lag_seconds": _SECONDS,
                            "held_lanes": _COUNT,
                            "dead": _COUNT,
                        }
                    )
                ),
                "put_off": _about(_COUNT, "Messages that wait for a try, up to 1,000."),
                "under_way": _about(_COUNT, "Of which a request has begun."),
                "in_doubt": _about(_COUNT, "Of which nobody knows whether they went."),
                "held": _list(_ref("Held")),
                "refusals": _counts("What was refused since the start, by reason."),
                "failures": _list(_ref("Failure")),
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
