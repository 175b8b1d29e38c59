"""The operators' interface, and sending through it, as an OpenAPI document.

https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Final, get_args

from bridge.model import EVENT_CLASSES, MediaKind, Status
from bridge.model.schema import DIALECT, Schema, definitions
from bridge.ops.interface import paths
from bridge.ops.shapes import (
    PREFIX,
    SCHEMAS,
    TEXT,
    YES,
    about,
    array,
    object_of,
    or_null,
    problem,
    ref,
)
from bridge.outbox.composing import Adapt

OPENAPI: Final = "3.1.0"
_CLOSED: Final[Schema] = {"additionalProperties": False}
_KEY: Final[Schema] = {**TEXT, "maxLength": 512}
_WHEN: Final = about(TEXT, 'A time in RFC 3339, or how long from now, such as "1h".')
_MEDIA: Final[Schema] = {"enum": [*(each.value for each in MediaKind), None]}
_NEEDED: Final[Mapping[str, Schema]] = {
    "to": about(TEXT, "A phone with its country's code, or a user id."),
    "via": about(TEXT, "An adapter, an account, a channel, or ADAPTER:ACCOUNT."),
}
_OPTIONS: Final[Mapping[str, Schema]] = {
    "key": _KEY,
    "otherwise": ref("Template"),
    "fallback": array(TEXT, maxItems=8),
    "not_before": _WHEN,
    "expires": _WHEN,
    "adapt": about(
        {**TEXT, "enum": [*get_args(Adapt)]},
        "strict: refuse what the channel carries only degraded or in parts.",
    ),
    "force": about(YES, "Send a marketing template also to a user who has opted out."),
    "wait": about(
        {"type": ["number", "string"], "maximum": 60}, "For how many seconds to wait for a status."
    ),
    "until": {**TEXT, "enum": [status.value for status in Status]},
    "dry_run": about(YES, "Return the `requests` that would go out, and send nothing."),
}
SEND_MESSAGE: Final[Mapping[str, Schema]] = {
    **_NEEDED,
    **_OPTIONS,
    "text": TEXT,
    "content": ref("Content"),
}
"""The JSON of a request to send a message."""

SEND_FILE: Final[Mapping[str, Schema]] = {
    **_NEEDED,
    **_OPTIONS,
    "caption": about({"type": ["string", "null"]}, "What to say with the file."),
    "media": about(_MEDIA, "As what to show the file, by default as its type says."),
}
"""The JSON that goes with a file to send."""

_SENDING: Final[Mapping[str, Schema]] = {
    "Send": {
        **object_of(_NEEDED, SEND_MESSAGE),
        **_CLOSED,
        "oneOf": [{"required": ["text"]}, {"required": ["content"]}],
    },
    "SendFile": {**object_of(_NEEDED, SEND_FILE), **_CLOSED},
    "Sending": object_of(
        {
            "message_id": about(TEXT, "Our own id of the message."),
            "key": about(TEXT, "The `correlation` of its statuses."),
            "is_new": about(YES, "False where it had been sent before."),
            "events": about(array(TEXT), "The keys of the messages that go out for it."),
        },
        {
            "outcome": about(
                or_null(ref("StatusChange")), "With `wait`: the status that came of it, or null."
            )
        },
    ),
}
_FILE: Final = about(
    {"contentMediaType": "application/octet-stream"},
    "Up to 100 MiB; its type is as it says, or as its name does.",
)
_REFUSALS: Final[Mapping[int, str]] = {
    400: "The request is malformed.",
    401: "The token is missing or wrong.",
    408: "The file did not come in time.",
    409: "Something else was sent under this key.",
    413: "The request is larger than it may be.",
    422: "The message cannot go out as it is.",
    503: "The message could not be made durable, or its file not be uploaded.",
    507: "There is no room for the file on the server's disk.",
}


def openapi() -> Schema:
    """Return the document of the admin listener."""
    return {
        "openapi": OPENAPI,
        "jsonSchemaDialect": DIALECT,
        "info": {
            "title": "incs-bridge: operating and sending",
            "version": metadata.version("incs-bridge"),
            "license": {"name": "MIT"},
        },
        "servers": [{"url": "http://127.0.0.1:8081", "description": "[admin] of the settings"}],
        "security": [{"token": []}],
        "paths": {"/send": {"post": _operation()}, **paths()},
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of [admin]; its `send_token` may `POST /send` alone.",
                }
            },
            "schemas": {
                **_SENDING,
                **SCHEMAS,
                "Event": {"oneOf": [ref(cls.__name__) for cls in EVENT_CLASSES]},
                **definitions(PREFIX, is_read=True),
            },
        },
    }


def _operation() -> Schema:
    form = {**object_of({"message": ref("SendFile"), "file": _FILE}), **_CLOSED}
    header: Schema = {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "As `key`: the same again under this key is not sent twice.",
        "schema": _KEY,
    }
    return {
        "operationId": "send",
        "summary": "Send a message: durable, in order, once per key.",
        "parameters": [header],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": ref("Send")},
                "multipart/form-data": {
                    "schema": form,
                    "encoding": {"message": {"contentType": "application/json"}},
                },
            },
        },
        "responses": {
            "200": {
                "description": "The message is durable, or was before.",
                "content": {"application/json": {"schema": ref("Sending")}},
            },
            **{str(status): problem(words) for status, words in _REFUSALS.items()},
        },
    }
