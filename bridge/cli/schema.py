"""`bridge schema`: what programs in other languages get and send."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import orjson
from cyclopts import Parameter

from bridge.cli.terminal import Exit


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
    from bridge.model.schema import asyncapi, json_schema

    write = json_schema if form == "jsonschema" else asyncapi
    if form == "openapi":
        from bridge.ops.openapi import openapi as write
    indented = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    sys.stdout.buffer.write(orjson.dumps(write(), option=indented))
    sys.stdout.buffer.flush()
    return Exit.OK
