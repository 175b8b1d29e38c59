"""The operators' interface, and sending through it, as an OpenAPI document.

https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

from importlib import metadata
from typing import Final, get_args

from bridge.model import EVENT_CLASSES, MediaKind, Status
from bridge.model.schema import DIALECT, Schema, definitions
from bridge.ops.interface import PREFIX, SCHEMAS, paths, problem
from bridge.outbox.composing import Adapt

OPENAPI: Final = "3.1.0"
_WHEN: Final = 'A time in RFC 3339, or how long from now, such as "1h".'
_TEXT: Final[Schema] = {"type": "string"}
_PROPERTIES: Final[Schema] = {
    "to": {**_TEXT, "description": "A phone with its country's code, or a user id."},
    "via": {
        **_TEXT,
        "description": "An adapter, an account, a channel, or ADAPTER:ACCOUNT.",
    },
    "key": {**_TEXT, "maxLength": 512},
    "otherwise": {"$ref": f"{PREFIX}Template"},
    "fallback": {"type": "array", "maxItems": 8, "items": _TEXT},
    "not_before": {**_TEXT, "description": _WHEN},
    "expires": {**_TEXT, "description": _WHEN},
    "adapt": {
        "type": "string",
        "enum": [*get_args(Adapt)],
        "description": "strict: refuse what the channel carries only degraded or in parts.",
    },
    "force": {
        "type": "boolean",
        "description": "Send a marketing template also to a user who has opted out.",
    },
    "wait": {
        "type": ["number", "string"],
        "maximum": 60,
        "description": "For how many seconds to wait for a status.",
    },
    "until": {"type": "string", "enum": [status.value for status in Status]},
    "dry_run": {
        "type": "boolean",
        "description": "Return the `requests` that would go out, and send nothing.",
    },
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
                "Send": _request(),
                "SendFile": _file_request(),
                "Sending": _response(),
                **SCHEMAS,
                "Event": {"oneOf": [{"$ref": f"{PREFIX}{cls.__name__}"} for cls in EVENT_CLASSES]},
                **definitions(PREFIX, is_read=True),
            },
        },
    }


def _operation() -> Schema:
    return {
        "operationId": "send",
        "summary": "Send a message: durable, in order, once per key.",
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "As `key`: the same again under this key is not sent twice.",
                "schema": {"type": "string", "maxLength": 512},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": f"{PREFIX}Send"}},
                "multipart/form-data": {
                    "schema": _form(),
                    "encoding": {"message": {"contentType": "application/json"}},
                },
            },
        },
        "responses": {
            "200": {
                "description": "The message is durable, or was before.",
                "content": {"application/json": {"schema": {"$ref": f"{PREFIX}Sending"}}},
            },
            "400": problem("The request makes no sense."),
            "401": problem("The token is missing or wrong."),
            "408": problem("The file did not come in time."),
            "409": problem("Something else was sent under this key."),
            "413": problem("The request is larger than it may be."),
            "422": problem("The message cannot go out as it is."),
            "503": problem("The message could not be made durable, or its file not be uploaded."),
            "507": problem("There is no room for the file on the server's disk."),
        },
    }


def _form() -> Schema:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["message", "file"],
        "properties": {
            "message": {"$ref": f"{PREFIX}SendFile"},
            "file": {
                "contentMediaType": "application/octet-stream",
                "description": "Up to 100 MiB; its type is as it says, or as its name does.",
            },
        },
    }


def _request() -> Schema:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["to", "via"],
        "oneOf": [{"required": ["text"]}, {"required": ["content"]}],
        "properties": {
            **_PROPERTIES,
            "text": _TEXT,
            "content": {"$ref": f"{PREFIX}Content"},
        },
    }


def _file_request() -> Schema:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["to", "via"],
        "properties": {
            **_PROPERTIES,
            "caption": {"type": ["string", "null"], "description": "What to say with the file."},
            "media": {
                "enum": [*(each.value for each in MediaKind), None],
                "description": "As what to show the file, by default as its type says.",
            },
        },
    }


def _response() -> Schema:
    return {
        "type": "object",
        "required": ["message_id", "key", "is_new", "events"],
        "properties": {
            "message_id": {"type": "string", "description": "Our own id of the message."},
            "key": {"type": "string", "description": "The `correlation` of its statuses."},
            "is_new": {"type": "boolean", "description": "False where it had been sent before."},
            "events": {
                "type": "array",
                "items": {"type": "string"},
                "description": "The keys of the messages that go out for it.",
            },
            "outcome": {
                "description": "With `wait`: the status that came of it, or null.",
                "oneOf": [{"$ref": f"{PREFIX}StatusChange"}, {"type": "null"}],
            },
        },
    }
