"""The published schema holds for every event there is, and says no more than is kept."""

import copy
from datetime import UTC, datetime
from typing import Any

import jsonschema
import orjson
import pytest
from hypothesis import given

from bridge.adapter import Verified
from bridge.installed import without_secrets
from bridge.model import CONTENT_CLASSES, EVENT_CLASSES
from bridge.model.codec import encode, to_dict
from bridge.model.schema import asyncapi, json_schema
from tests.adapters import cases
from tests.bridge.events import message, notice, status
from tests.bridge.strategies import events, untimed

ADAPTERS = ("incs", "rcs", "whatsapp")
NOW = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)


def closed(schema: Any) -> Any:
    """Return the schema with nothing allowed beyond what it names: a reader's strictest view."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {name: closed(item) for name, item in schema.items()}
    if "properties" in schema and "type" in schema:
        result["additionalProperties"] = False
    return result


STRICT = jsonschema.Draft202012Validator(closed(json_schema()))


def faults(value: Any, validator: Any = STRICT) -> list[str]:
    return [error.message[:200] for error in validator.iter_errors(value)]


def test_it_is_a_valid_schema():
    """The document is one of JSON Schema 2020-12, and says so."""
    document = json_schema()
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(document)


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_sample_fits(name):
    """What becomes of each adapter's samples is described, each field of it."""
    adapter = without_secrets(name)
    for sample in adapter.samples():
        verified = Verified(payload=orjson.dumps(sample.body), received_at=NOW)
        for event in adapter.parse(verified).events:
            assert faults(to_dict(event)) == [], sample.name


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_case_fits(name):
    """So are the events of all cases, which were written by hand."""
    for case in cases.load(name):
        for event in case.expected():
            assert faults(event) == [], case.name


@untimed
@given(events)
def test_every_event_that_there_can_be_fits(event):
    """Whatever the model allows, the codec writes it as the schema says."""
    assert faults(orjson.loads(encode(event))) == []


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"kind": "telepathy"},
        to_dict(notice()) | {"topic": None},
        to_dict(notice()) | {"occurred_at": 5},
        to_dict(notice()) | {"occurred_at": "2026-11-01T12:00:00+00:00"},
        to_dict(status()) | {"status": "teleported"},
        to_dict(message()) | {"content": {"kind": "text"}},
        to_dict(message()) | {"content": {"kind": "poll"}},
        to_dict(message()) | {"aliases": "1"},
        {name: value for name, value in to_dict(message()).items() if name != "key"},
    ],
)
def test_what_is_no_event_does_not_fit(event):
    """A missing field, a null, an unknown word or kind is noticed, also by a lenient reader."""
    lenient = jsonschema.Draft202012Validator(json_schema())
    assert faults(event, lenient)


def test_a_later_field_is_no_fault():
    """The schema lets a reader pass over fields that it does not know yet."""
    lenient = jsonschema.Draft202012Validator(json_schema())
    assert faults(to_dict(message()) | {"mood": "good"}, lenient) == []
    assert faults(to_dict(message()) | {"mood": "good"})


def test_every_definition_has_words():
    """Each class and enumeration is described, and each event and content is there."""
    definitions = json_schema()["$defs"]
    assert all(definition["description"] for definition in definitions.values())
    names = {cls.__name__ for cls in (*EVENT_CLASSES, *CONTENT_CLASSES)}
    assert names <= definitions.keys()


def test_a_price_is_a_string_and_a_time_is_in_utc():
    """Decimals and times are told as what they are in JSON."""
    definitions = json_schema()["$defs"]
    price = definitions["OrderItem"]["properties"]["price"]
    assert price["type"] == "string"
    validator = jsonschema.Draft202012Validator(price)
    assert all(not faults(text, validator) for text in ("0", "-1.50", "1E+3", "0E-7"))
    assert all(faults(text, validator) for text in ("", "1,5", "NaN", 1.5))
    assert definitions["Message"]["properties"]["occurred_at"]["format"] == "date-time"


# --- AsyncAPI ------------------------------------------------------------------------------


def resolved(document: Any, place: str) -> Any:
    assert place.startswith("#/")
    for part in place[2:].split("/"):
        document = document[part]
    return document


def references(value: Any) -> list[str]:
    if isinstance(value, list):
        return [place for item in value for place in references(item)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
    return own + [place for item in value.values() for place in references(item)]


def test_the_document_has_what_asyncapi_wants():
    """Version, title, one channel and one operation that sends each kind of event in it."""
    document = asyncapi()
    assert document["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= document["info"].keys()
    channel = document["channels"]["events"]
    kinds = {cls.kind for cls in EVENT_CLASSES}
    assert channel["messages"].keys() == kinds
    [operation] = document["operations"].values()
    assert operation["action"] == "send"
    assert operation["channel"] == {"$ref": "#/channels/events"}
    assert {place["$ref"] for place in operation["messages"]} == {
        f"#/channels/events/messages/{kind}" for kind in kinds
    }


def test_every_reference_leads_somewhere():
    """No reference within the document hangs in the air."""
    document = asyncapi()
    for place in references(document):
        resolved(document, place)


def test_a_message_of_asyncapi_is_the_same_event():
    """An event fits the payload of its own message, and of no other."""
    document = closed(asyncapi())
    for event in (message(), status(), notice()):
        fitting = []
        for kind, place in document["channels"]["events"]["messages"].items():
            payload = resolved(document, place["$ref"])["payload"]
            schema = {**payload, "components": copy.deepcopy(document["components"])}
            if not faults(to_dict(event), jsonschema.Draft202012Validator(schema)):
                fitting.append(kind)
        assert fitting == [event.kind]
