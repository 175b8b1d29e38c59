"""`bridge schema` prints the schemas, and nothing else."""

import orjson

from bridge.model.schema import asyncapi, json_schema
from bridge.ops.openapi import openapi


def test_json_schema_is_what_it_prints_unasked(command):
    """Without --format it is the JSON Schema, on standard output."""
    outcome = command("schema")
    assert orjson.loads(outcome.out) == json_schema()
    assert outcome.err == ""
    assert outcome.code == 0


def test_either_form_can_be_named(command):
    """--format takes jsonschema, asyncapi and openapi, and refuses anything else with 2."""
    assert orjson.loads(command("schema", "--format", "jsonschema").out) == json_schema()
    assert orjson.loads(command("schema", "--format", "asyncapi").out) == asyncapi()
    assert orjson.loads(command("schema", "--format", "openapi").out) == openapi()
    assert command("schema", "--format", "xml").code == 2
