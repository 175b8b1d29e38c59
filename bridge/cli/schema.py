"""`bridge schema`: what programs in other languages get and send."""

from __future__ import annotations

import sys
from typing import Annotated, Final, Literal

import orjson
from cyclopts import Parameter

from bridge.cli.terminal import Exit
from bridge.model import schema as generated
from bridge.ops.openapi import openapi

_WRITERS: Final = {
    "jsonschema": generated.json_schema,
    "asyncapi": generated.asyncapi,
    "openapi": openapi,
}


def schema(
    *,
    form: Annotated[
        Literal["jsonschema", "asyncapi", "openapi"], Parameter(name="--format")
    ] = "jsonschema",
) -> int:
    """Print what a subscriber in another language may rely on.

    It is made from the model itself, and describes what `bridge normalize` prints.

    Example: `bridge schema --format asyncapi > events.json`

    Parameters
    ----------
    form
        JSON Schema 2020-12 or AsyncAPI 3.0 of the events, or OpenAPI 3.1 of the
        operators' interface with `POST /send`.
    """
    document = orjson.dumps(
        _WRITERS[form](), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    )
    sys.stdout.buffer.write(document)
    sys.stdout.buffer.flush()
    return Exit.OK
