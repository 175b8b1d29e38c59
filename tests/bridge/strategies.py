"""Hypothesis strategies for the whole model and for JSON, derived from the model's annotations."""

from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import attrs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from bridge.model import CONTENT_CLASSES, EVENT_CLASSES, Content, ContentT_co, Event

# How fast a busy machine draws an example proves nothing.
untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
# For a law that is tried for each of many small classes.
few = settings(untimed, max_examples=untimed.max_examples // 3)

_JSON = get_type_hints(Event)["raw"]

instants = st.datetimes(timezones=st.just(UTC)).map(lambda time: time.replace(fold=0))
finite_floats = st.floats(allow_nan=False, allow_infinity=False)
json_scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | finite_floats | st.text()
)
json_values = st.recursive(
    json_scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
json_objects = st.dictionaries(st.text(), json_values, max_size=4)

_SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=20),
    int: st.integers(-(2**63), 2**63 - 1),
    float: finite_floats,
    bool: st.booleans(),
    NoneType: st.none(),
    datetime: instants,
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
}


def instances(cls: type[attrs.AttrsInstance]) -> st.SearchStrategy[Any]:
    """Every value that the annotations of an attrs class allow."""
    hints = get_type_hints(cls)
    return st.builds(
        cls, **{field.name: _annotated(hints[field.name]) for field in attrs.fields(cls)}
    )


def _annotated(hint: Any) -> st.SearchStrategy[Any]:
    if hint == _JSON:
        return json_values
    if hint in (Content, ContentT_co):
        return st.deferred(lambda: contents)
    if hint in _SCALARS:
        return _SCALARS[hint]
    if attrs.has(hint):
        return instances(hint)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return st.sampled_from(hint)
    if get_origin(hint) is tuple:
        return st.lists(_annotated(get_args(hint)[0]), max_size=2).map(tuple)
    if get_origin(hint) is dict:
        return json_objects
    return st.one_of([_annotated(choice) for choice in get_args(hint)])


contents = st.one_of([instances(cls) for cls in CONTENT_CLASSES])
events = st.one_of([instances(cls) for cls in EVENT_CLASSES])
