"""The operators' interface over HTTP: parameters and responses of each operation.

The routes are in `bridge.ops.admin`; a test holds them to this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bridge.journal.query import MOST
from bridge.model import EVENT_CLASSES
from bridge.model.schema import Schema
from bridge.ops.shapes import (
    COUNT,
    SECONDS,
    TEXT,
    TIME,
    YES,
    about,
    array,
    counts,
    object_of,
    or_null,
    problem,
    ref,
)

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
    "since": about(TIME, "Received at this time or later."),
    "until": about(TIME, "Received before this time."),
    "mended": about(YES, "Only unreadable bodies that have been read since, or have not."),
    "conversation_of": about(COUNT, "The conversation of the event at this position."),
}
SEARCH: Final[Mapping[str, Schema]] = {
    **_FILTERS,
    "after": about(COUNT, "Beyond this position."),
    "before": about(COUNT, "Before this position."),
    "newest_first": YES,
    **_LIMIT,
    **_MASKED,
}
"""The parameters of a search for events."""

_KEYS: Final[Mapping[str, Schema]] = {
    "keys": about(array(TEXT, maxItems=MOST), "Events' keys."),
    "positions": about(array(COUNT, maxItems=MOST), "In place of `keys`."),
}
_DRY: Final[Mapping[str, Schema]] = {"dry_run": about(YES, "Change nothing, and tell what would.")}
_LETTERS: Final[Mapping[str, Schema]] = {
    "ids": about(array(COUNT), "Dead letters; all of them without it."),
    "subscriber": about(TEXT, "Whose, where all are meant."),
}
_NAME: Final = "name"
_NEXT: Final = or_null(about(COUNT, "Where the next page begins: `after` of the next request."))


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


_ERRORS: Final[Mapping[int, str]] = {
    400: "The request is malformed.",
    401: "The token is missing or wrong.",
    403: "The token may only read, or the request is another site's.",
    404: "The key, position, name or route does not exist.",
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
    "GET /metrics": _operation("Metrics in Prometheus's text format.", "text/plain", errors=(401,)),
    "GET /status": _operation(
        "An overview of the server.",
        object_of(
            {
                "version": TEXT,
                "started_at": TIME,
                "ready": YES,
                "reason": or_null(about(TEXT, "Why it is not ready, or what needs attention.")),
                "spooled": or_null(about(COUNT, "Events in the spool.")),
                "set_aside": about(COUNT, "Damaged files that nobody has moved away."),
                "losses": about(COUNT, "How often files or servers lost the journal."),
                "deaths": about(COUNT, "Tasks of the journal that failed and were replaced."),
                "size": or_null(about(COUNT, "Of the journal, in bytes.")),
                "free": or_null(about(COUNT, "Bytes on its disk.")),
                "durable": YES,
                "chat": about(YES, "Whether the inspector offers a chat."),
                "adapters": array(TEXT),
                "sources": array(ref("Source")),
                "subscribers": array(ref("Subscriber")),
                "sends": or_null(
                    about(
                        object_of({"waiting": COUNT, "dead": COUNT}),
                        "How many messages are to go out at most, and are given up; null "
                        "where no adapter sends.",
                    )
                ),
                "last_event": or_null(
                    object_of({"key": TEXT, "position": COUNT, "kind": TEXT, "received_at": TIME})
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
                "callbacks_since": about(TIME, "The server's start."),
            }
        ),
        query={
            "key": about(
                TEXT, "As the log and the commands print it, or whole; or a provider's id."
            ),
            "position": about(COUNT, "In place of `key`."),
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
            "id": about(COUNT, "This one only."),
            "subscriber": TEXT,
            "after": about(COUNT, "Beyond this id."),
            **_LIMIT,
            **_MASKED,
        },
        errors=_ASKED,
    ),
    "POST /dead/retry": _operation(
        "Give dead letters to their subscribers again.",
        object_of({"retried": COUNT}),
        body=_LETTERS,
        errors=(*_CHANGE, 404),
    ),
    "POST /dead/drop": _operation(
        "Drop dead letters.", object_of({"dropped": COUNT}), body=_LETTERS, errors=(*_CHANGE, 404)
    ),
    "POST /replay": _operation(
        "Give subscribers events again: those named, or a page of those that the search "
        "in the query finds.",
        object_of(
            {
                "subscribers": counts("How many each subscriber gets."),
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
        object_of({"erased": COUNT}),
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
                            "waiting": COUNT,
                            "lag_seconds": SECONDS,
                            "held_lanes": COUNT,
                            "dead": COUNT,
                        }
                    )
                ),
                "put_off": about(COUNT, "Messages that wait for a try, up to 1,000."),
                "under_way": about(COUNT, "Messages whose request has begun."),
                "in_doubt": about(COUNT, "Messages that the provider may or may not have taken."),
                "held": array(ref("Held")),
                "refusals": counts("What was refused since the start, by reason."),
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
