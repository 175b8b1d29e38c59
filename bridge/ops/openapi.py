"""The operators' interface, and sending through it, as an OpenAPI document.

https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

from importlib import metadata
from typing import Final, get_args

from bridge.model import EVENT_CLASSES, Status
from bridge.model.schema import DIALECT, Schema, definitions
from bridge.ops.interface import PREFIX, SCHEMAS, paths, problem
from bridge.outbox.composing import Adapt

OPENAPI: Final = "3.1.0"
_WHEN: Final = 'A time in RFC 3339, or how long from now, such as "1h".'


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
            "content": {"application/json": {"schema": {"$ref": f"{PREFIX}Send"}}},
        },
        "responses": {
            "200": {
                "description": "The message is durable, or was before.",
                "content": {"application/json": {"schema": {"$ref": f"{PREFIX}Sending"}}},
            },
            "400": problem("The request makes no sense."),
            "401": problem("The token is missing or wrong."),
            "409": problem("Something else was sent under this key."),
            "422": problem("The message cannot go out as it is."),
            "503": problem("The message could not be made durable."),
        },
    }


def _request() -> Schema:
    text: Schema = {"type": "string"}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["to", "via"],
        "oneOf": [{"required": ["text"]}, {"required": ["content"]}],
        "properties": {
            "to": {**text, "description": "A phone with its country's code, or a user id."},
            "via": {
                **text,
                "description": "An adapter, an account, a channel, or ADAPTER:ACCOUNT.",
            },
            "text": text,
            "content": {"$ref": f"{PREFIX}Content"},
            "key": {**text, "maxLength": 512},
            "otherwise": {"$ref": f"{PREFIX}Template"},
            "fallback": {"type": "array", "maxItems": 8, "items": text},
            "not_before": {**text, "description": _WHEN},
            "expires": {**text, "description": _WHEN},
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
