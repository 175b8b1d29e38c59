"""The one place that spells our own JSON: events to bytes and back.

The words are the model's field names and `kind` tells the class. Nulls are left out, times are
RFC 3339 with `Z`, decimals are strings; `decode(encode(event)) == event`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import attrs
import orjson
from cattrs import Converter
from cattrs.errors import BaseValidationError
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from bridge import model
from bridge.errors import CodecError
from bridge.model import CONTENT_CLASSES, EVENT_CLASSES, Content, Event, JsonValue

_OPTIONS: Final = orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC
_JSON_FIELDS: Final = frozenset({"raw", "details", "data"})


def encode(event: Event) -> bytes:
    """Write an event as one line of JSON in UTF-8, without a line break at the end.

    Raises `CodecError` where its `raw` holds what JSON cannot (an adapter's fault).
    """
    try:
        return orjson.dumps(_CONVERTER.unstructure(event), default=_default, option=_OPTIONS)
    except (TypeError, ValueError) as error:
        msg = f"event does not fit into JSON: {type(error).__name__}"
        raise CodecError(msg) from error


def decode(data: bytes | str) -> Event:
    """Read an event that `encode` wrote. Raises `CodecError`."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        msg = f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        raise CodecError(msg) from error
    return from_dict(value)


def to_dict(event: Event) -> dict[str, JsonValue]:
    """Return an event as plain JSON values."""
    result: dict[str, JsonValue] = orjson.loads(encode(event))
    return result


def from_dict(value: JsonValue) -> Event:
    """Read an event from plain JSON values. Raises `CodecError`."""
    if not isinstance(value, dict):
        msg = "an event is a JSON object"
        raise CodecError(msg)
    kind = value.get("kind")
    cls = _EVENTS.get(kind) if isinstance(kind, str) else None
    if cls is None:
        msg = "no event has this kind"
        raise CodecError(msg)
    try:
        return _CONVERTER.structure(value, cls)
    except (BaseValidationError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        msg = f"not a valid {cls.kind}: {type(error).__name__}"
        raise CodecError(msg) from error


def _default(value: object) -> str:
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(type(value).__name__)


def _passthrough(value: Any, _: object = None) -> Any:  # noqa: ANN401 - JSON is left as it is
    return value


def _overrides(cls: type[attrs.AttrsInstance]) -> dict[str, Any]:
    """Leave out what is None, and touch no JSON that is carried as it came (cattrs overrides)."""
    result: dict[str, Any] = {}
    for field in attrs.fields(cls):
        as_it_is: dict[str, Any] = {}
        if field.name in _JSON_FIELDS:
            as_it_is = {"unstruct_hook": _passthrough, "struct_hook": _passthrough}
        if field.default is None:
            result[field.name] = override(omit_if_default=True, **as_it_is)
        elif as_it_is:
            result[field.name] = override(**as_it_is)
    return result


def _tagged(unstructure: Callable[[Any], dict[str, Any]], kind: str) -> Callable[[Any], Any]:
    def hook(value: object) -> dict[str, Any]:
        return {"kind": kind, **unstructure(value)}

    return hook


def _converter() -> Converter:
    converter = Converter(detailed_validation=False)
    converter.register_structure_hook(datetime, lambda value, _: _instant(value))
    converter.register_structure_hook(Decimal, lambda value, _: Decimal(value))
    for name in ("unstructure", "structure"):
        register = getattr(converter, f"register_{name}_hook_factory")
        make = make_dict_unstructure_fn if name == "unstructure" else make_dict_structure_fn

        def factory(cls: Any, make: Any = make) -> Any:  # noqa: ANN401 - cattrs hands any class
            hook = make(cls, converter, **_overrides(cls))
            if make is make_dict_unstructure_fn and cls in (*EVENT_CLASSES, *CONTENT_CLASSES):
                return _tagged(hook, cls.kind)
            return hook

        register(lambda cls: attrs.has(cls) and cls.__module__ == model.__name__, factory)
    # A union is told apart by its tag; the class of the value says how to write it.
    converter.register_unstructure_hook_func(
        lambda hint: hint == Content, lambda value: converter.unstructure(value)
    )
    converter.register_structure_hook_func(
        lambda hint: hint == Content,
        lambda value, _: converter.structure(value, _CONTENTS[value["kind"]]),
    )
    return converter


def _instant(value: str) -> datetime:
    result = datetime.fromisoformat(value)
    if result.tzinfo is None:
        msg = "a time without a zone"
        raise ValueError(msg)
    return result.astimezone(UTC)


_EVENTS: Final = {cls.kind: cls for cls in EVENT_CLASSES}
_CONTENTS: Final = {cls.kind: cls for cls in CONTENT_CLASSES}
_CONVERTER: Final = _converter()
